"""Finds and reads dbt's build log in the warehouse that is about to be sent from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sync.core.build_log import INVOCATION_COLUMNS, RUN_COLUMNS, Invocation, read_state
from sync.core.graph import DbtState
from sync.core.sql import identifier
from sync.edges.warehouse import Session
from sync.errors import ConfigError, Fault, UnreadableError
from sync.spec.durations import spoken

BUILD_LOG, INVOCATIONS, NODE_RUNS = "statsig_build_log", "statsig_invocations", "statsig_node_runs"


@dataclass(frozen=True)
class Wanted:
    """Whose build is wanted: a profile and a target, and a project where one is at hand."""

    profile: str
    target: str
    project: str | None = None

    def is_met_by(self, found: Invocation) -> bool:
        """Whether an invocation was of these."""
        is_same = (found.profile_name, found.target_name) == (self.profile, self.target)
        return is_same and self.project in (None, found.project_name)

    def __str__(self) -> str:
        project = f", project '{self.project}'" if self.project else ""
        return f"profile '{self.profile}', target '{self.target}'{project}"


@dataclass(frozen=True)
class BuildLog:
    """The build log with the last command of a project: ``relation`` is its name in the warehouse."""

    invocation: Invocation
    relation: str

    def has(self, invocation_id: str, session: Session) -> bool:
        """Whether it has anything of a dbt command."""
        query = f"select exists (select 1 from {self.relation} where invocation_id = $invocation_id)"
        return bool(session.value(query, {"invocation_id": invocation_id}))

    def state(self, session: Session) -> DbtState:
        """The project as its last command left it. Raises ``ConfigError`` where that cannot be read."""
        one = self.invocation
        own = {"project": one.project_name, "profile": one.profile_name, "target": one.target_name}
        condition = "project_name = $project and profile_name = $profile and target_name = $target"
        runs = session.rows(
            f"select {', '.join(RUN_COLUMNS)} from {_beside(self.relation, NODE_RUNS)} where {condition}", own
        )
        known = session.rows(
            f"select distinct known_syncs from {self.relation} where {condition} and known_syncs is not null", own
        )
        try:
            return read_state(one, list(runs), [row[0] for row in known])
        except msgspec.DecodeError as error:
            raise _fault(f"{self.relation} holds what no dbt command of this package writes ({error}).") from error


def find_build_log(session: Session, wanted: Wanted, now: dt.datetime) -> BuildLog:
    """The build log of the wanted project and target; ``now`` is UTC without a zone.

    Raises ``ConfigError`` where dbt has written none, or where several projects could be meant.
    """
    found = [
        BuildLog(one, relation)
        for relation in session.relations_named(BUILD_LOG)
        for one in _invocations(session, relation)
    ]
    fitting = [log for log in found if wanted.is_met_by(log.invocation)]
    if not fitting:
        raise _fault(_none(wanted, found, now))
    if len({log.invocation.project_name for log in fitting}) > 1:
        raise _fault(_several(wanted, fitting, now))
    # After the ledgers have moved to another schema, the old ones are not written any more.
    return max(fitting, key=lambda log: log.invocation.logged_at)


def _invocations(session: Session, relation: str) -> Sequence[Invocation]:
    view = _beside(relation, INVOCATIONS)
    try:
        if session.columns(view) is None:
            return ()
    except UnreadableError as error:
        raise _fault(f"{error} Create it again with: dbt build") from error
    return [Invocation(*row) for row in session.rows(f"select {', '.join(INVOCATION_COLUMNS)} from {view}")]


def _beside(relation: str, name: str) -> str:
    """A relation that dbt has put beside another, by the name of its model."""
    return f"{relation.rpartition('.')[0]}.{identifier(name)}"


def _none(wanted: Wanted, found: Sequence[BuildLog], now: dt.datetime) -> str:
    advice = (
        f"Run dbt build with {wanted}. If dbt has just built it: the dbt package statsig_sync must be installed, its "
        "hooks on-run-start and on-run-end must not be switched off, and dbt must have used the profile and the target "
        "that statsig-sync uses."
    )
    if not found:
        return f"dbt has written no build log here, so nothing proves the data. {advice}"
    others = "; ".join(_described(log, now) for log in found)
    return f"dbt has written no build log for {wanted}. There is one for: {others}. {advice}"


def _several(wanted: Wanted, found: Sequence[BuildLog], now: dt.datetime) -> str:
    logs = "; ".join(_described(log, now) for log in found)
    return f"several projects have been built with {wanted}: {logs}. Name one's folder with --project-dir."


def _described(log: BuildLog, now: dt.datetime) -> str:
    one = log.invocation
    ago = spoken((now - one.logged_at).total_seconds())
    return (
        f"project '{one.project_name}', profile '{one.profile_name}', target '{one.target_name}' (dbt {one.command}, "
        f"{ago} ago, in {log.relation})"
    )


def _fault(message: str) -> ConfigError:
    return ConfigError([Fault("", "", "build log", message)])
