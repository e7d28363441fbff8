"""Damaged answers of a broker never end the process, nor fill its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SEED = int(os.environ.get("FUZZ_SEED", "1"))
_ANSWERS = os.environ.get("FUZZ_ANSWERS", "4000")


@pytest.mark.parametrize("seed", range(_SEED, _SEED + 2))
def test_random_answers(seed: int) -> None:
    """differential, crash: lengths and counts that lie, below right checksums too; what comes out is the oracle's."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.codec.kafka_fuzz", str(seed), _ANSWERS],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # a crash is a negative exit code
    assert done.returncode == 0, f"seed {seed}: exit code {done.returncode}\n{done.stderr[-3000:]}"
