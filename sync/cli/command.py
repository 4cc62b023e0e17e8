"""From arguments to an exit code: the one place where errors become messages."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import traceback
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from sync.cli.arguments import parse
from sync.core.delivery import Patience, never
from sync.errors import StatsigSyncError

if TYPE_CHECKING:
    from sync.core.terms import Term
    from sync.run.apply import Observer
    from sync.run.commands import Manner
    from sync.run.prepare import Request
    from sync.run.world import World


def execute(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code. No error leaves it but a wrong use of arguments."""
    options = parse(arguments)
    try:
        return _COMMANDS[options.command](options)
    except StatsigSyncError as error:
        return _report_error(options, error, error.exit_code)
    except KeyboardInterrupt:
        print("statsig-sync: stopped.", file=sys.stderr, flush=True)
        # Python would wait for requests in flight before it ends; what they were is in the ledgers.
        os._exit(1)
    except Exception as error:
        return _report_error(options, error, 1)


def _report_error(options: argparse.Namespace, error: Exception, code: int) -> int:
    if options.debug:
        traceback.print_exc()
    if isinstance(error, StatsigSyncError):
        faults = list(error.messages)
    else:
        faults = [f"unexpected {type(error).__name__}: {error}. Run again with --debug to see where."]
    if options.json:
        _print_json(options, code, {"errors": faults})
    else:
        _print_errors(faults)
    return code


def _print_errors(errors: Sequence[str]) -> None:
    for error in errors:
        print(f"error: {error}", file=sys.stderr)


def _world(options: argparse.Namespace, should_stop: Callable[[], bool] = never) -> World:
    # The warehouse's libraries are slow to import: not before the arguments are known to be good.
    from sync.edges.clock import SystemClock  # noqa: PLC0415
    from sync.run.world import Location, open_world  # noqa: PLC0415

    location = Location(
        options.project_dir,
        options.profiles_dir,
        options.target,
        options.manifest,
        options.run_results,
        profile=options.profile,
    )
    return open_world(location, os.environ, SystemClock(should_stop), lambda: uuid.uuid4().hex, _tell)


def _tell(line: str) -> None:
    """Says on standard error what a command waits for, also where its output is JSON."""
    print(f"statsig-sync: {line}", file=sys.stderr, flush=True)


def _request(options: argparse.Namespace) -> Request:
    from sync.run.prepare import Request  # noqa: PLC0415

    return Request(
        tuple(options.select),
        options.gate,
        options.retry_rejected,
        options.keep_going,
        tuple(options.allow_removals),
        tuple(options.allow_new_keys),
        tuple(options.allow_events),
        options.max_age,
    )


def _holder() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}"


def _term(options: argparse.Namespace) -> Term:
    from sync.core.terms import Term  # noqa: PLC0415

    return Term(options.lease, options.wait)


def _patience(options: argparse.Namespace, should_stop: Callable[[], bool] = never) -> Patience:
    return Patience(attempts=options.max_attempts, total_seconds=options.max_seconds, should_stop=should_stop)


def _manner(options: argparse.Namespace, should_stop: Callable[[], bool]) -> Manner:
    from sync.run.commands import Manner  # noqa: PLC0415

    observer = _observer(sys.stderr, is_quiet=options.json)
    return Manner(_patience(options, should_stop), _term(options), _holder(), should_stop, observer)


def _observer(stream: TextIO, is_quiet: bool) -> Observer:
    """A progress bar on a terminal, plain lines elsewhere."""
    from sync.cli import observers  # noqa: PLC0415

    if is_quiet:
        return observers.QuietObserver(stream)
    if not stream.isatty():
        return observers.PlainObserver(stream)
    # Only a terminal needs what draws on it.
    from sync.cli.progress import ProgressObserver  # noqa: PLC0415

    return ProgressObserver(stream)


def _print_json(options: argparse.Namespace, code: int, more: dict[str, Any]) -> None:
    print(json.dumps({"command": options.command, "exit_code": code, **more}, indent=2))


def _check(options: argparse.Namespace) -> int:
    from sync.run.check import check  # noqa: PLC0415

    found = check(_world(options), _request(options), _patience(options))
    if options.json:
        syncs = [{"sync": one.sync.name, "model": one.sync.model, "note": one.note} for one in found.syncs]
        orphans = [one.summary for one in found.orphans]
        notes, warnings = list(found.notes), list(found.warnings)
        _print_json(options, 0, {"syncs": syncs, "notes": notes, "warnings": warnings, "orphans": orphans})
    else:
        for note in found.notes:
            print(f"note: {note}")
        for one in found.syncs:
            print(f"ok  {one.sync.name}: {one.note}")
        for warning in found.warnings:
            print(f"warning: {warning}")
        print(f"{len(found.syncs)} sync(s) checked. No data was sent.")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from sync.cli import printing  # noqa: PLC0415
    from sync.core.plan import summary  # noqa: PLC0415
    from sync.run.commands import plan  # noqa: PLC0415

    found = plan(_world(options), _request(options), _patience(options))
    code = printing.refused_exit_code(found)
    if options.json:
        _print_json(options, code, summary(found))
    else:
        printing.print_plan(found)
    return code


def _run(options: argparse.Namespace) -> int:
    from sync.cli import printing  # noqa: PLC0415
    from sync.run.commands import run  # noqa: PLC0415

    stop = _Stop()
    report = run(_world(options, stop), _request(options), _manner(options, stop))
    code = printing.exit_code(report, options.fail_on_rejects)
    if options.json:
        _print_json(options, code, printing.report_summary(report))
    else:
        printing.print_report(report)
    return code


def _verify(options: argparse.Namespace) -> int:
    from sync.cli import printing  # noqa: PLC0415
    from sync.run.verify import VerifyRequest, verify  # noqa: PLC0415

    request = VerifyRequest(
        options.select, options.counts_only, options.repair, options.allow_removals, options.names, options.sample
    )
    stop = _Stop()
    found = verify(_world(options, stop), request, _manner(options, stop))
    code = printing.verified_exit_code(found)
    errors = printing.verified_errors(found)
    if options.json:
        _print_json(options, code, {**printing.verified_summary(found), "errors": errors})
    else:
        printing.print_verified(found)
        # So that the errors come last also where both streams go to one place.
        sys.stdout.flush()
        _print_errors(errors)
    return code


def _resolve(options: argparse.Namespace) -> int:
    from sync.cli import endings  # noqa: PLC0415
    from sync.run.resolve import Verdict, resolve  # noqa: PLC0415

    verdict = Verdict(options.name, options.settled_as, options.batch, options.dry_run)
    resolved = resolve(_world(options), verdict, _holder(), _term(options))
    if options.json:
        _print_json(options, 0, endings.resolved_summary(resolved, options.dry_run))
    else:
        endings.print_resolved(resolved, options.dry_run)
    return 0


def _retire(options: argparse.Namespace) -> int:
    from sync.cli import endings  # noqa: PLC0415
    from sync.run.retire import Retirement, retire  # noqa: PLC0415

    stop = _Stop()
    wanted = Retirement(options.name, options.how, options.dry_run)
    retired = retire(_world(options, stop), wanted, _manner(options, stop))
    code = 0 if retired.result is None or retired.result.is_delivered else 1
    if options.json:
        _print_json(options, code, endings.retired_summary(retired, options.dry_run))
    else:
        endings.print_retired(retired, options.dry_run)
    return code


def _prune(options: argparse.Namespace) -> int:
    from sync.cli import endings  # noqa: PLC0415
    from sync.run.prune import PruneRequest, prune  # noqa: PLC0415

    request = PruneRequest(options.older_than, options.gate, options.dry_run)
    pruned = prune(_world(options), request, _holder(), _term(options))
    if options.json:
        _print_json(options, 0, endings.pruned_summary(pruned, options.dry_run))
    else:
        endings.print_pruned(pruned, options.dry_run)
    return 0


_COMMANDS = {
    "check": _check,
    "plan": _plan,
    "run": _run,
    "verify": _verify,
    "resolve": _resolve,
    "retire": _retire,
    "prune": _prune,
}


class _Stop:
    """Turns the first SIGINT or SIGTERM into a wish to stop after what is in flight; a second one stops at once."""

    def __init__(self) -> None:
        self._is_wished = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._wish)

    def _wish(self, number: int, _frame: object) -> None:
        self._is_wished = True
        signal.signal(number, signal.default_int_handler)
        print("statsig-sync: stopping after the requests in flight; once more stops at once.", file=sys.stderr)

    def __call__(self) -> bool:
        return self._is_wished
