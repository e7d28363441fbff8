"""One broker for all test processes of a run: the first that needs it starts it, the last that goes stops it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.broker.cluster import start
from tests.broker.jars import NEWEST


@contextmanager
def shared(folder: Path, version: str = NEWEST) -> Iterator[str]:
    """The bootstrap address of the broker that belongs to `folder`, which every process of the run names."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.json"
    with _locked(folder):
        known = json.loads(state.read_text()) if state.exists() else None
        if known is None:
            cluster = start(folder / "broker", version=version, stays=True)
            known = {"bootstrap": cluster.bootstrap, "pid": cluster.nodes[0].leave(), "users": []}
        known["users"] = [pid for pid in known["users"] if _lives(pid)] + [os.getpid()]
        state.write_text(json.dumps(known))
    try:
        yield str(known["bootstrap"])
    finally:
        with _locked(folder):
            known = json.loads(state.read_text())
            known["users"] = [pid for pid in known["users"] if pid != os.getpid() and _lives(pid)]
            state.write_text(json.dumps(known))
            if not known["users"]:
                _end(known["pid"])
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(pid: int) -> None:
    if _lives(pid):
        os.kill(pid, signal.SIGKILL)  # nobody wants its data any more
