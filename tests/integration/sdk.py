"""Asks Statsig's official server SDKs who is in a segment, pointed at a sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import statsig
import statsig_python_core
from statsig.statsig_server import StatsigServer

SERVER_SECRET = "secret-sandbox"


def members_according_to_legacy_sdk(
    url: str, segment_id: str, ids: Iterable[str], id_type: str = "userID", server_secret: str = SERVER_SECRET
) -> set[str]:
    """Those of `ids` that the `statsig` SDK finds in the segment. `url` is the sandbox's base URL."""
    options = statsig.StatsigOptions(
        api=f"{url}/v1/",
        # The default has an entry that sends everything to Statsig's own address, and wins over `api`.
        proxy_configs={},
        disable_all_logging=True,
        disable_diagnostics=True,
        disable_country_lookup=True,
        disable_ua_parser=True,
    )
    server = StatsigServer()
    try:
        server.initialize(server_secret, options)
        return {
            unit_id
            for unit_id in ids
            if server.check_gate(statsig.StatsigUser(**_identifier(unit_id, id_type)), segment_id)
        }
    finally:
        server.shutdown()


def members_according_to_core_sdk(
    url: str, segment_id: str, ids: Iterable[str], id_type: str = "userID", server_secret: str = SERVER_SECRET
) -> set[str]:
    """Those of `ids` that the `statsig-python-core` SDK finds in the segment. `url` is the sandbox's base URL."""
    server = statsig_python_core.Statsig(server_secret, core_options(url, disable_all_logging=True))
    server.initialize().wait()
    try:
        return {
            unit_id
            for unit_id in ids
            if server.check_gate(statsig_python_core.StatsigUser(**_identifier(unit_id, id_type)), segment_id)
        }
    finally:
        server.shutdown().wait()


def core_options(url: str, **more: Any) -> statsig_python_core.StatsigOptions:
    """Options that send everything of `statsig-python-core` to `url` and switch id lists on."""
    return statsig_python_core.StatsigOptions(
        specs_url=f"{url}/v2/download_config_specs",
        log_event_url=f"{url}/v1/log_event",
        id_lists_url=f"{url}/v1/get_id_lists",
        enable_id_lists=True,
        fallback_to_statsig_api=False,
        disable_country_lookup=True,
        output_log_level="error",
        **more,
    )


def _identifier(unit_id: str, id_type: str) -> dict[str, Any]:
    return {"user_id": unit_id} if id_type == "userID" else {"custom_ids": {id_type: unit_id}}
