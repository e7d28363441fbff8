"""Find a job in a Python file, and let signals stop it between two epochs."""

from __future__ import annotations

import importlib.util
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Protocol

from windrow.errors import PlanError, WindrowError


class Job(Protocol):
    """What the command needs of ``windrow.api.job.Job``; a protocol, so that nothing heavy is imported for it."""

    def run(
        self,
        *,
        until: str | None = None,
        epochs: int | None = None,
        timeout: Any = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any: ...

    def stop(self) -> None: ...

    def explain(self) -> str: ...


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
        jobs = sorted(key for key, value in vars(module).items() if is_job(value) and not key.startswith("_"))
        hint = _there_are("jobs there are", jobs) or "; give the result of write_log() or wr.job() a name in the file"
        raise PlanError(f"{path} has no {name!r}{hint}")
    if not is_job(found):
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


def is_job(value: object) -> bool:
    """Whether it can be run and explained; classes are not jobs, their instances are."""
    names = ("run", "stop", "explain")
    return not isinstance(value, type | ModuleType) and all(callable(getattr(value, name, None)) for name in names)


@contextmanager
def stopped_by_signals(job: Job) -> Iterator[None]:
    """SIGINT and SIGTERM let the epoch finish and commit; a second SIGINT interrupts at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr.write(f"\n{signal.Signals(number).name}: finishing the epoch (again to stop at once)\n")
        job.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
