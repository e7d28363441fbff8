"""Compiling ahead of time, in this process and in workers, into one cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windrow.kernels._compile import registry
from windrow.runtime.memory import keep_freed_memory
from windrow.runtime.warmup import load_kernels
from windrow.runtime.warmup import warm_up as warm_up_here

SCRIPT = """
import json, sys
from windrow.runtime import warmup
seen = []
if sys.argv[2] == "broken":
    sys.executable = "/bin/false"
count = warmup.warm_up(lambda *told: seen.append(told), ["select", "gather"], workers=int(sys.argv[1]))
print(json.dumps([count, seen]))
"""
NAMES = [
    *("gather.take_bytes", "gather.take_offsets"),
    *("select.compare_ints", "select.rows_of_bits", "select.same_remainder", "select.same_text"),
]


def warm_up(cache: Path, workers: int, worker_kind: str = "good") -> tuple[int, list[tuple[str, int, int]]]:
    environment = {**os.environ, "WINDROW_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(workers), worker_kind], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    count, seen = json.loads(done.stdout)
    return count, [(str(name), int(ready), int(total)) for name, ready, total in seen]


@pytest.mark.parametrize(("workers", "kind"), [(0, "good"), (1, "good"), (1, "broken")])
def test_a_cold_cache_is_filled_and_then_only_loaded(tmp_path: Path, workers: int, kind: str) -> None:
    """law: every kernel is reported once, counted up to the total; the second time nothing is compiled."""
    count, seen = warm_up(tmp_path, workers, kind)
    assert count == len(NAMES)
    assert sorted(name for name, _, _ in seen) == NAMES
    assert [(ready, total) for _, ready, total in seen] == [(number, count) for number in range(1, count + 1)]
    if workers == 0:
        again, seen = warm_up(tmp_path, workers)
        assert again == 0
        assert [name for name, _, _ in seen] == NAMES


def test_every_kernel_is_ready_after_it() -> None:
    """law: without modules named, nothing is left out."""
    told: list[str] = []
    warm_up_here(lambda name, _ready, _total: told.append(name))
    assert sorted(told) == sorted(registry)
    assert all(kernel.is_cached() for kernel in registry.values())
    assert warm_up_here() == 0


def test_load_kernels_takes_the_modules_asked_for() -> None:
    """law: names are "module.kernel", in order."""
    assert list(load_kernels(["select", "gather"])) == NAMES
    assert set(NAMES) < set(load_kernels(None))


def test_keep_freed_memory_says_whether_it_could() -> None:
    """law: glibc takes the settings; may be called again."""
    assert keep_freed_memory() == keep_freed_memory() == sys.platform.startswith("linux")
