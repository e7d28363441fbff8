"""Processing time as an argument: the engine never reads the system clock by itself."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine gets processing time from."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def sleep(self, seconds: float, wake: threading.Event) -> None:
        """Wait for `seconds`, or less when `wake` is set."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def sleep(self, seconds: float, wake: threading.Event) -> None:
        wake.wait(seconds)


class ManualClock:
    """A clock that a test moves; sleeping moves it too, so that a test never waits."""

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, us: int) -> None:
        self._now_us += us

    def sleep(self, seconds: float, wake: threading.Event) -> None:
        self._now_us += int(seconds * 1_000_000)
