"""What the connectors of one job share: each embedded log is opened once, and closed with the job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windrow.io.log.log import Log


class Resources:
    """Opened when first asked for; `ledger_path` is the log that the job's ledger is in, if it is in one."""

    def __init__(self, ledger_path: str | None = None) -> None:
        self._ledger = None if ledger_path is None else Path(ledger_path).resolve()
        self._logs: dict[Path, Log] = {}

    def log(self, path: str) -> Log:
        """The embedded log at `path`; made when there is none."""
        from windrow.io.log.log import Log

        place = Path(path).resolve()
        if place not in self._logs:
            self._logs[place] = Log(place)
        return self._logs[place]

    def is_ledger(self, path: str) -> bool:
        """Whether rows written to the log at `path` are part of the ledger's own commit."""
        return Path(path).resolve() == self._ledger

    def close(self) -> None:
        """Close every log that was opened."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()
