"""Random documents through the decoder and through Python's json, in a process of their own: differential, crash.

``WINDROW_FUZZ_DOCUMENTS`` sets how many documents each seed gets, ``WINDROW_FUZZ_SEED`` where the seeds begin.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = os.environ.get("WINDROW_FUZZ_DOCUMENTS", "3000")
_SEED = int(os.environ.get("WINDROW_FUZZ_SEED", "0"))


def _fuzz(seed: int, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.codec.json_fuzz", str(seed), _DOCUMENTS],
        cwd=_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    # a crash is a negative exit code
    assert done.returncode == 0, f"seed {seed}: exit code {done.returncode}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("seed", range(_SEED, _SEED + 2))
def test_random_documents(seed: int) -> None:
    """differential, crash: sound and broken documents, at the end of readable memory, give what Python's json gives."""
    _fuzz(seed)


@pytest.mark.slow
def test_random_documents_on_a_plain_processor(tmp_path: Path) -> None:
    """differential, crash: the same where LLVM has no wide vectors to work with."""
    _fuzz(_SEED + 7, NUMBA_CPU_NAME="generic", WINDROW_CACHE_DIR=str(tmp_path))
