"""dbt's build log as the source of what dbt has done: it lies beside the data that it proves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sync.core import ledger
from sync.core.clock import Clock
from sync.core.graph import DbtState
from sync.edges.artifacts import Arguments, read_command
from sync.edges.warehouse import Session, Warehouse
from sync.run.build_log import BuildLog, Wanted, find_build_log

# The commands of dbt that change or test data. The hooks write down all of them but clone, for which dbt runs no hooks.
_LOGGED = frozenset({"build", "run", "test", "seed", "snapshot", "retry", "clone"})


@dataclass(frozen=True)
class LoggedSource:
    """The build log of a project and target.

    ``artifacts`` is where dbt puts those of the project, None where no project is at hand. ``usual`` is the profile and
    the target that dbt takes where its command line names none, None where these are not known; ``is_explicit`` says
    whether that of statsig-sync did.
    """

    warehouse: Warehouse
    clock: Clock
    wanted: Wanted
    artifacts: Path | None
    usual: Wanted | None
    is_explicit: bool = field(kw_only=True)

    def read(self) -> DbtState:
        """What the build log says now. Raises ``ConfigError`` where there is none."""
        with self.warehouse.reading() as session:
            return self._log(session).state(session)

    def _log(self, session: Session) -> BuildLog:
        return find_build_log(session, self.wanted, ledger.naive_utc(self.clock.now()))

    def doubt(self) -> str | None:
        """Where dbt's last command in the project at hand is not in the build log that is opened here.

        A command that is older than the last one in the build log says nothing, nor does one that had nothing to do. Of
        one that is not logged, such as ``docs generate``, it is told that it was for another target: it may follow a
        build for that one.
        """
        found = read_command(self.artifacts / "run_results.json") if self.artifacts else None
        if found is None or found.is_idle:
            return None
        arguments = found.arguments
        usual = self.usual or self.wanted
        built = Wanted(arguments.profile or usual.profile, arguments.target or usual.target)
        is_elsewhere = (built.profile, built.target) != (self.wanted.profile, self.wanted.target)
        if self.is_explicit and (is_elsewhere or self.usual is None):
            return None
        if arguments.which not in _LOGGED and not is_elsewhere:
            return None
        with self.warehouse.reading() as session:
            log = self._log(session)
            is_old = found.ended_at is not None and found.ended_at < log.invocation.logged_at
            if is_old or log.has(found.invocation_id, session):
                return None
        return _elsewhere(arguments, built, self.wanted) if is_elsewhere else _not_logged(arguments, self.wanted)


def _elsewhere(arguments: Arguments, built: Wanted, opened: Wanted) -> str:
    return (
        f"the last command of dbt here, dbt {arguments.which}, was with {built}, but this would send from {opened}. "
        "Say which you mean with --target"
    )


def _not_logged(arguments: Arguments, opened: Wanted) -> str:
    if arguments.which == "clone":
        return (
            "the last command of dbt here, dbt clone, has put what another target holds in the place of models, which "
            "is not proved here. Run dbt build"
        )
    return (
        f"the last command of dbt here, dbt {arguments.which}, is not in the build log of {opened}: it was with "
        "another profile, target, schema or warehouse, or the hooks of the dbt package statsig_sync did not run. Run "
        "dbt build with this profile and target, and look for on-run-end in its output"
    )
