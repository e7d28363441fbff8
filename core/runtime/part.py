"""One partition of a job in a group: an engine of its own, in a thread of its own, from its restore to its last commit.

So a partition whose state is being read back, or that waits for a broker, keeps none of the others waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from windrow.progress.faults import reach
from windrow.progress.ledger import Ledger, Restoring
from windrow.runtime.engine import Engine
from windrow.runtime.metrics import Count, EpochReport

_POLL_S = 0.1
_LEAST_SHARE = 0.02  # of a restore, before how long it takes is guessed

#: An engine that is not open, and its ledger.
Made = tuple[Engine, Ledger]


class Part:
    """Runs the engine that `make` gives until it is told to stop. `changed` is notified of everything that happens.

    Attributes that are read from outside: `lag` (offsets; at least 1 until it is known), `finished`, `closed` (the
    thread has ended, everything is closed), `error` (what ended it), and `stopped` as `Engine.stopped` gives it.
    """

    def __init__(self, number: int, life: int, make: Callable[[], Made], changed: threading.Condition) -> None:
        self.number = number
        self.life = life
        self.lag = 1
        self.finished = False
        self.closed = False
        self.committed = False  # at least one epoch
        self.error: BaseException | None = None
        self.stopped: list[str] = []
        self._make = make
        self._changed = changed
        self._stop = threading.Event()
        self._engine: Engine | None = None
        self._ledger: Ledger | None = None
        self._open = False
        self._begun_s = time.monotonic()
        self._reports: list[EpochReport] = []
        self._thread = threading.Thread(target=self._run, name=f"windrow-partition-{number}", daemon=True)
        self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Let it end after the epoch that it is in, committed; `closed` says when."""
        self._stop.set()
        engine = self._engine
        if engine is not None:
            engine.cancel()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def take_reports(self) -> list[EpochReport]:
        with self._changed:
            reports, self._reports = self._reports, []
        return reports

    def counts(self) -> dict[str, Count]:
        return {} if self._engine is None else self._engine.counts()

    def source_metrics(self) -> dict[str, dict[str, Any]]:
        return self._engine.source_metrics() if self._engine is not None and self._open else {}

    def restoring(self) -> str | None:
        """How far the restore is, and how long it may take yet; None when it is done."""
        if self._open or self.closed:
            return None
        done, whole = self._ledger.restored if isinstance(self._ledger, Restoring) else (0, 0)
        share = done / whole if whole else 0.0
        if share < _LEAST_SHARE:
            return f"partition {self.number}: its state is being read back"
        left_s = (time.monotonic() - self._begun_s) * (1 - share) / share
        return f"partition {self.number}: {share:.0%} of its state is back, about {left_s:.0f} s to go"

    # -- the thread

    def _run(self) -> None:
        try:
            self._engine, self._ledger = self._make()
            try:
                self._work(self._engine)
            finally:
                self._engine.close()
            reach("group.closed")
        except BaseException as error:
            self.error = error
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _work(self, engine: Engine) -> None:
        if self._stop.is_set():
            return
        engine.open()
        engine.fix_start()  # a partition may move before the first row comes
        reach("group.opened")
        self._open = True
        while not self._stop.is_set():
            if engine.finished:
                engine.drain()
                self._note(engine, lag=0)
                self._stop.wait(_POLL_S)
                continue
            ran = engine.step(wait_s=_POLL_S)
            if not ran and not engine.held:
                ran = engine.settle()
            self._note(engine, lag=1 if ran or engine.held else engine.lag())
        engine.drain()
        self._note(engine, lag=self.lag)

    def _note(self, engine: Engine, *, lag: int) -> None:
        reports = engine.take_reports()
        with self._changed:
            self._reports += reports
            self.committed = self.committed or bool(reports)
            self.stopped = engine.stopped()
            self.lag = lag
            self.finished = engine.finished
            self._changed.notify_all()
