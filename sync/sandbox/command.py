"""The `statsig-sandbox` command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from sync.sandbox.settings import Keys, Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. One line on standard output says where, as soon as connections are taken.

    Requests are listed on standard error, without keys. Exit codes: 0 stopped by a signal, 1 the address is not free,
    2 wrong usage or missing packages.
    """
    options = _parser().parse_args(arguments)
    try:
        from sync.sandbox.limits import LimitOptions  # noqa: PLC0415
        from sync.sandbox.server import build_server, listen, url_of  # noqa: PLC0415
        from sync.sandbox.state import SandboxState  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"{error}. Install the sandbox's packages: pip install 'statsig-sync[sandbox]'", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("statsig_sandbox").setLevel(logging.WARNING if options.quiet else logging.INFO)
    state = SandboxState(_settings(options))
    state.limits.configure(LimitOptions(enabled=not options.no_limits))
    server = build_server(state)
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        print(f"statsig-sandbox cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    with listener:
        print(f"statsig-sandbox listening on {url_of(listener)}", flush=True)
        server.run([listener])
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        keys=Keys(options.server_secret, options.console_key, options.client_key, tuple(options.more_keys)),
        keep=options.keep,
        max_events_body=options.max_events_body,
        max_ids=options.max_ids,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="statsig-sandbox", description="A local emulator of Statsig: events API, Console API, SDK downloads."
    )
    keys, limits = Keys(), Settings()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8191, help="port; 0 for any free one (default: %(default)s)")
    parser.add_argument("--server-secret", default=keys.server_secret, help="key for events (default: %(default)s)")
    parser.add_argument("--console-key", default=keys.console, help="key for segments (default: %(default)s)")
    parser.add_argument("--client-key", default=keys.client, help="key that is never right (default: %(default)s)")
    parser.add_argument(
        "--more-keys",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY",
        help="further keys, each of a project of its own or, as KEY@PROJECT, of that one",
    )
    parser.add_argument(
        "--keep", choices=("events", "counts"), default=limits.keep, help="counts keeps no event bodies"
    )
    parser.add_argument(
        "--max-events-body",
        type=int,
        default=limits.max_events_body,
        help="largest decoded body of log_event in bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--max-ids",
        type=_ids_in_a_request,
        default=limits.max_ids,
        help="most ids in one request, up to 100000 (default: %(default)s)",
    )
    parser.add_argument("--no-limits", action="store_true", help="switch the Console API's rate limits off")
    parser.add_argument("--quiet", action="store_true", help="do not list requests on standard error")
    return parser


def _port(text: str) -> int:
    return _between(0, 65_535, text)


def _ids_in_a_request(text: str) -> int:
    return _between(1, 100_000, text)


def _between(least: int, most: int, text: str) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a number between {least} and {most}")
    return int(text)
