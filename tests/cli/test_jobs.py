"""Finding a job in a file: what is there is found, what is not is explained (golden)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.cli.jobs import find, split
from windrow.errors import PlanError

FILE = """
import polars as pl
import windrow as wr
import helper_of_pipeline

rows = wr.from_arrow(pl.DataFrame({"a": [1, 2, 3]}))
job = rows.filter(pl.col("a") > helper_of_pipeline.LEAST).write_log("data", "big")
other = rows.write_log("data", "all")
_hidden = rows.write_log("data", "hidden")
if __name__ == "__main__":
    raise AssertionError("importing is not running")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before_path, before_modules = list(sys.path), set(sys.modules)
    (tmp_path / "pipeline.py").write_text(FILE)
    (tmp_path / "helper_of_pipeline.py").write_text("LEAST = 1\n")
    yield tmp_path
    sys.path[:] = before_path
    for name in set(sys.modules) - before_modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "path", "name"),
    [("a/b.py", "a/b.py", "job"), ("a/b.py:hot", "a/b.py", "hot"), ("a:b/c.py", "a:b/c.py", "job")],
)
def test_reference_is_taken_apart(reference: str, path: str, name: str) -> None:
    assert split(reference) == (Path(path), name)


def test_default_and_named_job_are_found(folder: Path) -> None:
    assert find(f"{folder}/pipeline.py").name == "big"
    assert find(f"{folder}/pipeline.py:other").name == "all"


def test_missing_file_says_which_files_there_are(folder: Path) -> None:
    with pytest.raises(
        PlanError, match=r"no file .*pipelin\.py; in .* there are: helper_of_pipeline\.py, pipeline\.py"
    ):
        find(f"{folder}/pipelin.py")


def test_missing_job_says_which_jobs_there_are(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"has no 'jobs'; jobs there are: job, other$"):
        find(f"{folder}/pipeline.py:jobs")


def test_file_without_a_job_says_how_to_make_one(folder: Path) -> None:
    (folder / "empty.py").write_text("")
    with pytest.raises(PlanError, match=r"has no 'job'; give the result of write_log\(\) or wr\.job\(\) a name"):
        find(f"{folder}/empty.py")


def test_a_stream_is_not_a_job(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"'rows' in .* is a Stream, not a job; a stream becomes one with a sink"):
        find(f"{folder}/pipeline.py:rows")


def test_plan_error_names_file_and_line(folder: Path) -> None:
    (folder / "wrong.py").write_text(FILE.replace('pl.col("a") >', 'pl.col("b") >'))
    with pytest.raises(PlanError, match=r"wrong\.py, line 7: filter: .*"):
        find(f"{folder}/wrong.py")


def test_other_file_is_refused(folder: Path) -> None:
    (folder / "notes.txt").write_text("")
    with pytest.raises(PlanError, match="is not a Python file"):
        find(f"{folder}/notes.txt")
