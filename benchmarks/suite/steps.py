"""A step of the suite: a named function that measures some things and yields a line for each.

Steps are found in the modules ``benchmarks/suite/steps_*.py`` and ``benchmarks/peers/steps_*.py``. Each runs in a
process of its own with a time limit; lines are kept as they come, so a step that fails late loses only what was to
follow.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from benchmarks.suite.lines import Line

_ROOT = Path(__file__).parents[2]
_FOLDERS = ("suite", "peers")
Part = Literal["limits", "kernels", "engine", "peers", "kafka", "scale"]
_PARTS = get_args(Part)
#: "tiny" is for tests (a second or two), "quick" for `make bench-quick`, "full" for `make bench`.
Size = Literal["tiny", "quick", "full"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """What a step is given."""

    size: Size
    folder: Path  # empty, on disk, removed afterwards
    cache: Path  # kept between runs: environments, downloads, builds; every step uses a folder of its own name in it
    results: Path  # where the files of results are, with those of other machines
    deadline: float = field(default=float("inf"))  # of time.monotonic(); the step is killed then
    options: dict[str, str] = field(default_factory=dict)  # --option name=value

    def pick(self, *, full: _T, quick: _T, tiny: _T) -> _T:
        """The one of the three that belongs to the size of this run."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]

    def left(self) -> float:
        """Seconds until the step is killed: a step that may be slow asks, and yields what it has."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    part: Part
    what: str  # a sentence for the report
    function: Callable[[Run], Iterator[Line]]
    seconds: tuple[int, int]  # about how long it takes: quick, full; 0: not part of it
    limit: tuple[int, int]  # when it is killed: quick, full
    longer: Mapping[str, float] = field(default_factory=dict)  # option -> how much later, for each unit of its value


#: Every step by name, in the order in which modules define them.
registry: dict[str, Step] = {}
#: What has to be made before anything is measured, by name: environments, builds, downloads.
setups: dict[str, Callable[[Run], None]] = {}
#: Modules that could not be imported, with the reason: the suite reports them as failed.
broken: dict[str, str] = {}


def step(
    name: str,
    part: Part,
    what: str,
    seconds: tuple[int, int],
    limit: tuple[int, int] | None = None,
    longer: Mapping[str, float] | None = None,
) -> Callable[[Callable[[Run], Iterator[Line]]], Callable[[Run], Iterator[Line]]]:
    """Register the function below. `seconds`: what it needs for the quick and for the full suite on two cores, set-up
    of environments not counted. `limit` is three times that and two minutes, unless given; `longer` tells by how many
    seconds an option moves it, for each unit of its value."""

    def make(function: Callable[[Run], Iterator[Line]]) -> Callable[[Run], Iterator[Line]]:
        if name in registry:
            raise ValueError(f"two steps are called {name}")
        until = limit or (3 * seconds[0] + 120, 3 * seconds[1] + 120)
        registry[name] = Step(name, part, what, function, seconds, until, longer or {})
        return function

    return make


def setup(name: str) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register the function below as set-up. It is called in every run of the suite that has a step of its module, in a
    process of its own, and returns quickly when all is there; an exception says what is missing."""

    def make(function: Callable[[Run], None]) -> Callable[[Run], None]:
        if name in setups:
            raise ValueError(f"two set-ups are called {name}")
        setups[name] = function
        return function

    return make


def load_all() -> dict[str, Step]:
    """Import every module of steps; the registry that they fill, part by part."""
    for folder in _FOLDERS:
        for path in sorted((_ROOT / "benchmarks" / folder).glob("steps_*.py")):
            module = f"benchmarks.{folder}.{path.stem}"
            try:
                importlib.import_module(module)
            except Exception as error:  # one broken module must not take the others' results away
                broken[module] = f"{type(error).__name__}: {error}"
    return dict(sorted(registry.items(), key=lambda item: _PARTS.index(item[1].part)))


def cores(wanted: int) -> list[int]:
    """Numbers of so many of the cores that this process may use: the last ones, since interrupts tend to be served by
    the first. Fewer when there are fewer."""
    return _ALLOWED[-wanted:]


#: Before any step has pinned itself.
_ALLOWED = sorted(os.sched_getaffinity(0))
