"""Which files of a project are younger than its last build."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from sync.edges.project_files import YAML, changed_files, listed

BUILT = dt.datetime(2026, 10, 1, 9)


def write(project: Path, **minutes: float) -> None:
    """Writes files that were changed so many minutes after the build; ``__`` stands for a slash, ``_`` for a dot."""
    for name, after in minutes.items():
        file = project / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        moment = (BUILT.replace(tzinfo=dt.timezone.utc) + dt.timedelta(minutes=after)).timestamp()
        os.utime(file, (moment, moment))


def test_the_files_that_are_younger_are_named_in_order_below_the_projects_own_folders(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("")
    os.utime(tmp_path / "dbt_project.yml", (0, 0))
    write(tmp_path, models__marts__b_sql=1, models__a_yml=2, models__old_sql=-1, seeds__s_csv=1, models__notes_txt=1)
    write(tmp_path, target__compiled_sql=1, dbt__packages__p_sql=1)
    assert changed_files(tmp_path, ("models", "seeds"), BUILT) == ("models/a.yml", "models/marts/b.sql", "seeds/s.csv")
    assert changed_files(tmp_path, ("models",), BUILT, YAML) == ("models/a.yml",)
    assert changed_files(tmp_path, ("models", "nowhere"), BUILT + dt.timedelta(minutes=5)) == ()


def test_a_new_checkout_in_which_all_files_are_younger_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("")
    os.utime(tmp_path / "dbt_project.yml", (4e9, 4e9))
    write(tmp_path, models__a_yml=1, models__b_sql=1)
    assert changed_files(tmp_path, ("models",), BUILT) == ()
    write(tmp_path, models__b_sql=-1)
    assert changed_files(tmp_path, ("models",), BUILT) == ("dbt_project.yml", "models/a.yml")


def test_three_files_are_named_and_the_others_counted() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(list("abcde")) == "a, b, c and 2 more"
