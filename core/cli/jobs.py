"""Find the job that a Python file defines."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from windrow.errors import PlanError, WindrowError

if TYPE_CHECKING:
    from windrow.api.job import Job


def find(reference: str) -> Job:
    """The job that ``file.py`` or ``file.py:name`` means; the default name is ``job``.

    The file is imported as a module: what stands under ``if __name__ == "__main__"`` does not run. Raises
    `PlanError` that says what there is when there is no such file or job.
    """
    path, name = split(reference)
    if not path.is_file():
        nearby = sorted(other.name for other in path.parent.glob("*.py"))
        raise PlanError(f"no file {path}{_there_are(f'in {path.parent} there are', nearby)}")
    module = _load(path)
    found = getattr(module, name, None)
    if found is None:
        jobs = sorted(key for key, value in vars(module).items() if _is_job(value) and not key.startswith("_"))
        hint = _there_are("jobs there are", jobs) or "; give the result of write_log() or wr.job() a name in the file"
        raise PlanError(f"{path} has no {name!r}{hint}")
    if not _is_job(found):
        raise PlanError(
            f"{name!r} in {path} is a {type(found).__name__}, not a job; a stream becomes one with a sink, "
            "for example .write_log(log, 'topic')"
        )
    job: Job = found
    return job


def split(reference: str) -> tuple[Path, str]:
    """``file.py:name`` taken apart."""
    path, colon, name = reference.rpartition(":")
    return (Path(path), name) if colon and name.isidentifier() else (Path(reference), "job")


def _is_job(value: object) -> bool:
    from windrow.api.job import Job

    return isinstance(value, Job)


def _load(path: Path) -> ModuleType:
    """Import the file as a module of its own name, with its folder first on the path as `python file.py` has it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PlanError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except WindrowError as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        raise type(error)(f"{path}, line {lines[-1]}: {error}" if lines else f"{path}: {error}") from error
    return module


def _there_are(what: str, names: list[str]) -> str:
    return f"; {what}: {', '.join(names)}" if names else ""
