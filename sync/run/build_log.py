"""Finds and reads dbt's build log in the warehouse that is about to be sent from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from sync import __version__
from sync.core.build_log import (
    INVOCATION_COLUMNS,
    RUN_COLUMNS,
    Invocation,
    Logged,
    Watched,
    read_exposures,
    read_state,
)
from sync.core.graph import DbtState
from sync.core.ledger import lacking_columns
from sync.core.sql import identifier
from sync.edges.warehouse import Session
from sync.errors import ConfigError, Fault, UnreadableError
from sync.spec.durations import spoken
from sync.spec.model import Exposure

BUILD_LOG, INVOCATIONS, NODE_RUNS = "statsig_build_log", "statsig_invocations", "statsig_node_runs"


@dataclass(frozen=True)
class Wanted:
    """Whose build is wanted: a profile and a target, and a project where one is at hand.

    ``database`` and ``schema`` are what the target names here; None where that is not known.
    """

    profile: str
    target: str
    project: str | None = None
    database: str | None = None
    schema: str | None = None

    def is_met_by(self, found: Invocation) -> bool:
        """Whether an invocation was of these."""
        is_same = (found.profile_name, found.target_name) == (self.profile, self.target)
        is_here = _fits(self.database, found.target_database) and _fits(self.schema, found.target_schema)
        return is_same and is_here and self.project in (None, found.project_name)

    def __str__(self) -> str:
        project = f", project '{self.project}'" if self.project else ""
        schema = f", schema '{self.schema}'" if self.schema else ""
        return f"profile '{self.profile}', target '{self.target}'{schema}{project}"


def _fits(wanted: str | None, found: str | None) -> bool:
    return wanted is None or (found is not None and wanted.casefold() == found.casefold())


_OWN = " and ".join(
    f"{name} is not distinct from ${name}"
    for name in ("project_name", "profile_name", "target_name", "target_database", "target_schema")
)


@dataclass(frozen=True)
class BuildLog:
    """The build log with the last command of a project into a target: ``relation`` is its name in the warehouse."""

    invocation: Invocation
    relation: str

    @property
    def _own(self) -> dict[str, str | None]:
        one = self.invocation
        return {
            "project_name": one.project_name,
            "profile_name": one.profile_name,
            "target_name": one.target_name,
            "target_database": one.target_database,
            "target_schema": one.target_schema,
        }

    def has(self, invocation_id: str, session: Session) -> bool:
        """Whether it has anything of a dbt command of this project into this target."""
        query = f"select exists (select 1 from {self.relation} where invocation_id = $invocation_id and {_OWN})"
        return bool(session.value(query, {"invocation_id": invocation_id, **self._own}))

    def state(self, session: Session) -> DbtState:
        """The project as its last command left it. Raises ``ConfigError`` where that cannot be read."""
        try:
            found = read_state(self.invocation, self._logged(session))
        except (msgspec.DecodeError, TypeError) as error:
            raise _fault(
                f"{self.relation} holds what no dbt command of this package writes ({error}). Run dbt build."
            ) from error
        relations = [node.relation for node in found.graph.nodes.values() if node.relation is not None]
        return replace(found, graph=found.graph.with_views(session.views(relations)))

    def _logged(self, session: Session) -> Logged:
        view = _beside(self.relation, NODE_RUNS)
        if not _is_there(session, view, RUN_COLUMNS):
            raise _missing(view)
        runs = session.rows(f"select {', '.join(RUN_COLUMNS)} from {view} where {_OWN}", self._own)
        known = session.rows(
            f"select distinct known_syncs from {self.relation} where {_OWN} and known_syncs is not null", self._own
        )
        earlier = session.rows(
            f"select max(logged_at), max(graph) from {self.relation} where record = 'invocation' and {_OWN}"
            " and lineage_hash <> $lineage_hash group by lineage_hash",
            {**self._own, "lineage_hash": self.invocation.lineage_hash},
        )
        return Logged(list(runs), [row[0] for row in known], [Watched(*row) for row in earlier])


def find_build_log(session: Session, wanted: Wanted, now: dt.datetime) -> BuildLog:
    """The build log of the wanted project and target; ``now`` is UTC without a zone.

    Raises ``ConfigError`` where dbt has written none, or where several projects could be meant.
    """
    relations = session.relations_named(BUILD_LOG)
    views = [(relation, _beside(relation, INVOCATIONS)) for relation in relations]
    readable = [(relation, view) for relation, view in views if _is_there(session, view, INVOCATION_COLUMNS)]
    if views and not readable:
        raise _missing(views[0][1])
    found = [BuildLog(one, relation) for relation, view in readable for one in _invocations(session, view)]
    fitting = [log for log in found if wanted.is_met_by(log.invocation)]
    if not fitting:
        raise _fault(_none(wanted, found, now))
    if len({log.invocation.project_name for log in fitting}) > 1:
        raise _fault(_several(wanted, fitting, now))
    # After the ledgers have moved to another schema, the old ones are not written any more.
    return max(fitting, key=lambda log: log.invocation.logged_at)


@dataclass(frozen=True)
class OtherProject:
    """Another dbt project, or another target of the same: its name for a person, and its exposures that are syncs."""

    name: str
    exposures: tuple[Exposure, ...]


def other_projects(session: Session, invocations: str, own: Wanted) -> tuple[OtherProject, ...]:
    """What a build log knows besides the project and target at hand; ``invocations`` is the view of last commands.

    Raises ``ConfigError`` where one has written what cannot be read: its lists would be taken for lists of nobody.
    """
    # The graphs of other projects may be large, and nothing here asks for them.
    columns = ", ".join("'{}'" if name in ("graph", "ledgers") else name for name in INVOCATION_COLUMNS)
    found = [Invocation(*row) for row in session.rows(f"select {columns} from {invocations}")]
    try:
        return tuple(
            OtherProject(f"dbt project {one.project_name}, target {one.target_name}", read_exposures(one.syncs))
            for one in found
            if not own.is_met_by(one)
        )
    except (msgspec.DecodeError, TypeError) as error:
        raise _fault(
            f"{invocations} holds what no dbt command of this package writes ({error}). Run dbt build."
        ) from error


def _invocations(session: Session, view: str) -> Sequence[Invocation]:
    return [Invocation(*row) for row in session.rows(f"select {', '.join(INVOCATION_COLUMNS)} from {view}")]


def _is_there(session: Session, view: str, wanted: Sequence[str]) -> bool:
    """Whether there is a view on the build log. Raises ``ConfigError`` for one without the wanted columns."""
    try:
        columns = session.columns(view)
    except UnreadableError as error:
        raise _fault(f"{error} {_AGAIN}") from error
    if columns is None:
        return False
    if problem := lacking_columns(wanted, columns):
        raise _fault(
            f"{view} {problem}. This is statsig-sync {__version__}, and the view is of another version of the dbt "
            f"package statsig_sync: install the package in version {__version__} (dbt deps). {_AGAIN}"
        )
    return True


def _missing(view: str) -> ConfigError:
    return _fault(f"there is no {view}. {_AGAIN}")


_AGAIN = "Create it again with: dbt build"


def _beside(relation: str, name: str) -> str:
    """A relation that dbt has put beside another, by the name of its model."""
    return f"{relation.rpartition('.')[0]}.{identifier(name)}"


def _none(wanted: Wanted, found: Sequence[BuildLog], now: dt.datetime) -> str:
    advice = (
        f"Run dbt build with {wanted}. If dbt has just built it: the dbt package statsig_sync must be installed, its "
        "hooks on-run-start and on-run-end must not be switched off, the package's models must keep their names "
        "(generate_alias_name), and dbt must have used the profile, target and schema that statsig-sync uses."
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
        f"project '{one.project_name}', profile '{one.profile_name}', target '{one.target_name}', schema "
        f"'{one.target_database}.{one.target_schema}' (dbt {one.command}, {ago} ago, in {log.relation})"
    )


def _fault(message: str) -> ConfigError:
    return ConfigError([Fault("", "", "build log", message)])
