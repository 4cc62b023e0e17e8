"""The command line's arguments."""

from __future__ import annotations

import argparse
import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path

from sync import __version__
from sync.core.delivery import Patience
from sync.core.terms import RENEWAL_SECONDS, Term
from sync.spec.durations import EXAMPLES, duration
from sync.spec.statsig import LIMIT_PAUSES, LIMIT_WINDOWS

_EPILOG = """exit codes:
  0  done, or nothing to do (rows that were refused before sending are warnings)
  1  something could not be delivered; a list is not as it should be, or events are missing (verify); with
     --fail-on-rejects: new rejected rows
  2  wrong usage or configuration; nothing was sent
  3  the gate, a guard or another run refused; nothing was sent (of the refused syncs, with --keep-going or --repair)
"""


# Time to write down what has come of a command, and for the sign of life before it, which may be a while ago.
_WRITING_SECONDS = 60.0 + RENEWAL_SECONDS
# How long requests in flight may wait for the rate limits kept here, and for those that Statsig refuses by.
_WAIT_SECONDS = LIMIT_WINDOWS[-1] + sum(LIMIT_PAUSES) + _WRITING_SECONDS
# The least of a command that sends nothing.
_LEAST_SECONDS = 960.0
_LEASE_SECONDS = Term().lease_seconds


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, understood. Ends the process with 2 where it is wrong."""
    root = parser()
    options = root.parse_args(arguments)
    if hasattr(options, "lease"):
        # A request may first pause for as long as it may take, because Statsig has asked for it.
        patience = getattr(options, "max_seconds", None)
        least = _LEAST_SECONDS if patience is None else patience + max(_WAIT_SECONDS, patience + _WRITING_SECONDS)
        if options.lease is None:
            options.lease = max(_LEASE_SECONDS, least)
        elif options.lease < least:
            root.error(
                f"argument --lease: {options.lease:g} seconds are too few: between two signs of life can be {least:g} "
                f"(--max-seconds, and as much again or {_WAIT_SECONDS / 60:.0f} minutes of waiting for rate "
                "limits), and another run must not begin before it is over"
            )
    return options


def parser() -> argparse.ArgumentParser:
    """The parser of ``statsig-sync``."""
    root = argparse.ArgumentParser(
        prog="statsig-sync",
        description="Sends events and audiences from the warehouse to Statsig, after dbt build.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _check(_command(commands, "check", "check configuration, keys, columns and segments; sends no data"))
    _plan(_command(commands, "plan", "show what run would send; writes nothing anywhere"))
    _run(_command(commands, "run", "send what has changed since the last run"))
    _verify(_command(commands, "verify", "compare Statsig with the ledgers: who is in the lists, and what has arrived"))
    _resolve(_command(commands, "resolve", "settle events whose outcome is not known, as sent or as unsent"))
    _retire(_command(commands, "retire", "end a list that no sync writes any more"))
    _prune(_command(commands, "prune", "delete old lines of the ledgers that nothing depends on"))
    return root


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument(
        "--project-dir", type=_folder, metavar="DIR", help="the dbt project (default: as dbt, here or the next above)"
    )
    command.add_argument(
        "--profiles-dir", type=_folder, metavar="DIR", help="where profiles.yml is (default: as dbt, here or ~/.dbt)"
    )
    command.add_argument("--profile", metavar="NAME", help="the profile (default: the one that the project names)")
    command.add_argument("--target", metavar="NAME", help="the profile's target (default: the profile's own)")
    command.add_argument("--manifest", type=Path, metavar="FILE", help="default: target/manifest.json in the project")
    command.add_argument(
        "--run-results", type=Path, metavar="FILE", help="default: target/run_results.json in the project"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    command.add_argument("--debug", action="store_true", help="show stack traces")
    return command


def _names(command: argparse.ArgumentParser, flag: str, meaning: str, metavar: str = "NAME") -> None:
    """A flag that takes names, and may be given several times."""
    command.add_argument(flag, nargs="+", action="extend", default=[], metavar=metavar, help=meaning)


def _select(command: argparse.ArgumentParser) -> None:
    _names(command, "--select", "only these syncs: names of exposures, with * and ? (default: all)")


def _gate(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--gate",
        choices=("strict", "warn", "off"),
        default="strict",
        help="what to do when the last dbt build did not prove a sync's data (default: strict, refuse)",
    )


def _max_age(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-age",
        type=_duration,
        metavar="TIME",
        help=f"refuse data whose model was built longer ago, {EXAMPLES} (default: each sync's own max_age)",
    )


def _retry_rejected(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--retry-rejected", action="store_true", help="send rows again that Statsig refused and that have not changed"
    )


def _allow_removals(command: argparse.ArgumentParser) -> None:
    meaning = "let these mirrors remove more than their guard allows, this once; the run ledger keeps it"
    _names(command, "--allow-removals", meaning)


def _allow_new_keys(command: argparse.ArgumentParser) -> None:
    meaning = "let the keys of these event syncs come from elsewhere than before, this once; the run ledger keeps it"
    _names(command, "--allow-new-keys", meaning)


def _allow_events(command: argparse.ArgumentParser) -> None:
    meaning = "let these event syncs send what their guard, or a first run, is refused for, this once; the run ledger "
    _names(command, "--allow-events", meaning + "keeps it")


def _lease(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        nargs="?",
        type=_seconds,
        const=3600.0,
        default=0.0,
        metavar="SECONDS",
        help="wait for another run of the same sync to end (default: refuse; --wait alone: up to 3600)",
    )
    command.add_argument(
        "--lease",
        type=_seconds,
        metavar="SECONDS",
        help=f"how long a run that has died keeps others out (default: {_LEASE_SECONDS:g}, or more where --max-seconds "
        "is large)",
    )


def _patience(command: argparse.ArgumentParser) -> None:
    default = Patience()
    command.add_argument(
        "--max-attempts",
        type=_attempts,
        default=default.attempts,
        metavar="NUMBER",
        help=f"how often a request is tried before the run gives it up (default: {default.attempts})",
    )
    command.add_argument(
        "--max-seconds",
        type=_seconds,
        default=default.total_seconds,
        metavar="SECONDS",
        help=f"how long a request is tried, pauses included (default: {default.total_seconds:g})",
    )


def _check(command: argparse.ArgumentParser) -> None:
    _select(command)
    _patience(command)
    command.set_defaults(gate="off", max_age=None, retry_rejected=False, keep_going=False)
    command.set_defaults(allow_removals=[], allow_new_keys=[], allow_events=[])


def _what_to_send(command: argparse.ArgumentParser) -> None:
    """The flags that decide what is sent: so plan shows what run would do."""
    _select(command)
    _gate(command)
    _max_age(command)
    _retry_rejected(command)
    _allow_removals(command)
    _allow_new_keys(command)
    _allow_events(command)
    _patience(command)


def _plan(command: argparse.ArgumentParser) -> None:
    _what_to_send(command)
    command.set_defaults(keep_going=False)


def _run(command: argparse.ArgumentParser) -> None:
    _what_to_send(command)
    _lease(command)
    command.add_argument(
        "--fail-on-rejects",
        action="store_true",
        help="exit with 1 when new rows are not sent, or are sent without a part",
    )
    command.add_argument(
        "--keep-going", action="store_true", help="run the syncs that nothing refuses although others are refused"
    )


def _verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="only these syncs, as with --select (default: all)")
    _select(command)
    command.add_argument(
        "--sample",
        type=_count,
        default=20,
        metavar="NUMBER",
        help="how many events of each sync to look for in Statsig's logs (default: 20)",
    )
    _allow_removals(command)
    _patience(command)
    _lease(command)
    # Counts do not tell which ids a repair would add and remove.
    either = command.add_mutually_exclusive_group()
    either.add_argument(
        "--counts-only",
        action="store_true",
        help="compare only counts: of each list, and of the events of each day",
    )
    either.add_argument(
        "--repair", action="store_true", help="make the lists what the ledgers say, as far as the sync's mode goes"
    )


def _dry_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing anywhere")


def _resolve(command: argparse.ArgumentParser) -> None:
    _lease(command)
    _dry_run(command)
    command.add_argument("name", metavar="NAME", help="the event sync: an exposure's name")
    command.add_argument(
        "--as",
        dest="settled_as",
        required=True,
        choices=("sent", "unsent"),
        help="sent: never send these events again; unsent: the next run sends them",
    )
    _names(command, "--batch", "only these batches of statsig_unsettled (default: all)", metavar="ID")


def _retire(command: argparse.ArgumentParser) -> None:
    _patience(command)
    _lease(command)
    _dry_run(command)
    command.add_argument("name", metavar="NAME", help="the segment's id, or the name of the sync that wrote it")
    how = command.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--empty",
        dest="how",
        action="store_const",
        const="empty",
        help="take out of the list whom the ledgers know in it",
    )
    how.add_argument(
        "--archive",
        dest="how",
        action="store_const",
        const="archive",
        help="archive the segment in Statsig, and forget it",
    )
    how.add_argument(
        "--forget",
        dest="how",
        action="store_const",
        const="forget",
        help="leave the list as it is, and forget in the ledgers what was known of it",
    )


def _prune(command: argparse.ArgumentParser) -> None:
    _gate(command)
    _lease(command)
    _dry_run(command)
    command.add_argument(
        "--older-than", required=True, type=_days, metavar="DAYS", help="delete lines older than this, such as 180d"
    )


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder")
    return Path(text)


def _attempts(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 4 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 999")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 9999")
    return int(text)


def _seconds(text: str) -> float:
    """A number of seconds that is neither negative nor endless."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return seconds


def _duration(text: str) -> dt.timedelta:
    found = duration(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time, {EXAMPLES}")
    return found


def _days(text: str) -> dt.timedelta:
    """A number of days, 1 or more, with or without a d."""
    number = text.removesuffix("d")
    if not number.isascii() or not number.isdigit() or len(number) > 5:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of days, such as 180d")
    if not int(number):
        raise argparse.ArgumentTypeError(
            f"'{text}' would leave nothing; write 1d or more, and longer than a row may take to come back"
        )
    return dt.timedelta(days=int(number))
