"""One open `Log` for all parts of a process that name the same directory: one writer, one set of mapped files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from windrow.io.log.log import Log

_lock = threading.Lock()
_open: dict[Path, list[Shared]] = {}


@dataclass(eq=False)
class Shared:
    """A hold on a log; the last one to let go of a log that was opened here closes it."""

    log: Log
    path: Path | None = None  # None: the log belongs to the caller

    def release(self) -> None:
        """Let go; more than once does no harm."""
        with _lock:
            holds = _open.get(self.path, []) if self.path is not None else []
            if self not in holds:
                return
            holds.remove(self)
            if not holds and self.path is not None:
                del _open[self.path]
                self.log.close()


def shared(log: Log | str | Path) -> Shared:
    """A hold on `log` itself, or on the log at that path, which is opened when nobody here has it open."""
    if isinstance(log, Log):
        return Shared(log)
    path = Path(log).resolve()
    with _lock:
        holds = _open.get(path)
        hold = Shared(holds[0].log if holds else Log(path), path)
        _open.setdefault(path, []).append(hold)
        return hold
