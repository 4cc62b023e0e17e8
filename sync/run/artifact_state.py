"""dbt's artifacts as the source of what dbt has done, for those who keep no build log."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from sync.core.gate import proof_of_artifacts
from sync.core.graph import DbtState, Proof
from sync.edges.artifacts import Arguments, read_artifacts
from sync.edges.profiles import Profile
from sync.errors import ConfigError, Fault
from sync.run.build_log import Wanted


@dataclass(frozen=True)
class ArtifactSource:
    """A manifest and the results of the build that wrote it, and the profile that is opened.

    ``usual`` is the profile and the target of a command that names none; None where these are not known.
    """

    manifest: Path
    run_results: Path
    profile: Profile
    usual: Wanted | None = None

    @property
    def wanted(self) -> Wanted:
        """The profile and the target that are opened."""
        return Wanted(self.profile.name, self.profile.target)

    def read(self) -> DbtState:
        """What the artifacts say now. Raises ``ConfigError`` where they cannot be read."""
        found = read_artifacts(self.manifest, self.run_results)
        ids = (found.invocation_id, found.results_invocation_id)
        return DbtState(
            graph=found.graph,
            proof=Proof(found.runs, proof_of_artifacts(ids, found.arguments.which, found.left_out_rows)),
            ledgers=found.ledgers,
            invocation_id=found.invocation_id,
            built_at=found.built_at,
        )

    def doubt(self) -> str | None:
        """Where dbt has built with another target, profile or profiles.yml than is opened here."""
        built = read_artifacts(self.manifest, self.run_results).arguments
        if self.usual is not None:
            profile, target = built.profile or self.usual.profile, built.target or self.usual.target
            built = replace(built, profile=profile, target=target)
        return next((f"{self.run_results} is of {one}" for one in _differences(built, self.profile)), None)


def _differences(built: Arguments, opened: Profile) -> list[str]:
    found = []
    if built.target is not None and built.target != opened.target:
        found.append(f"a dbt {built.which} with target '{built.target}', but the target here is '{opened.target}'")
    if built.profile is not None and built.profile != opened.name:
        found.append(f"a dbt {built.which} with profile '{built.profile}', but the profile here is '{opened.name}'")
    folder = os.path.realpath(os.path.dirname(os.path.abspath(opened.file)))
    # Artifacts may come from another machine, where the folders are others.
    is_here = built.profiles_dir is not None and os.path.isdir(built.profiles_dir)
    if is_here and os.path.realpath(built.profiles_dir or "") != folder:
        found.append(f"a dbt {built.which} with the profiles.yml in {built.profiles_dir}, but here it is in {folder}")
    return found


def find_artifacts(manifest: Path | None, run_results: Path | None, folder: Path | None) -> tuple[Path, Path]:
    """The files that the command line names; one that it does not name is in the project's target folder."""
    if folder is None and not (manifest and run_results):
        message = "go together where no dbt project is at hand; name both."
        raise ConfigError([Fault("", "", "--manifest, --run-results", message)])
    home = folder or Path()
    return manifest or home / "manifest.json", run_results or home / "run_results.json"
