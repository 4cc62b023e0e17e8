"""Statsig over HTTP: the calls that a sync makes, its rate limits, and patience."""

from sync.edges.statsig.console import ConsoleClient
from sync.edges.statsig.events import EventsClient
from sync.edges.statsig.limits import RateLimit, RateLimits

__all__ = ["ConsoleClient", "EventsClient", "RateLimit", "RateLimits"]
