"""Lives one after the other on one cluster; engines and brokers die as a seed says; the count of both."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.broker.cluster import Brokers, start
from tests.broker.jars import NEWEST
from tests.broker.node import Node
from tests.crash.events import Model, generate
from tests.crash.life import fork
from tests.kafka.soak import life as lives
from tests.kafka.soak.life import CRASHED, ENDED, FENCED, LOST_END, Life
from windrow.progress import faults

#: What happens to an attempt, and how often of a hundred.
KINDS = {
    "point": 42, "kill": 22, "zombie": 7, "pause": 4, "broker kill": 9, "broker stop": 5, "broker pause": 6, "none": 5,
}  # fmt: skip
#: Where a job of this kind can die.
POINTS = tuple(
    point
    for point in faults.POINTS
    if point.startswith(("kafka.", "engine.", "epoch.", "commit.", "ledger.open", "ledger.restore"))
    and point not in ("epoch.written_ahead", "kafka.added", "kafka.doubt", "kafka.recovered")
)
#: What an attempt comes to once; the rest it comes to in every epoch.
ONCE = ("engine.opened", "engine.restored", "kafka.source.placed", "kafka.ledger.fenced", "ledger.open")
#: Where a process is stopped in the middle of a transaction.
PAUSES = ("kafka.partly_produced", "kafka.produced", "kafka.offsets")
#: How the coordinator looks for transactions that have lain open for too long; every 10 s else.
SETTINGS = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
MOST_ROUNDS = 12  # of one life; then it is left alone, and has to end
PATIENCE_S = 150.0


class Hanging(Exception):
    """Brokers lost the end of a transaction (`settled`; only with one replica), and the job has said so."""


class Failure(Exception):
    """Something was lost, doubled, or stuck."""


@dataclass
class Options:
    """`minutes`: how long to go on, whatever `rounds` says; `pauses_s`: how long what is stopped stays so."""

    rounds: int = 40
    minutes: float | None = None
    seed: int = 0
    nodes: int = 1
    version: str = NEWEST
    kind: str | None = None
    events: int = 240
    pauses_s: tuple[float, float] = (0.5, 3.0)
    folder: str | None = None
    transaction_timeout_s: float = 60.0
    say: bool = False  # how far it is, every minute


@dataclass
class Tally:
    """What happened, for the line at the end."""

    rounds: int = 0
    lives: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    fenced: int = 0
    doubts: int = 0  # attempts that ended although the brokers had given up a transaction of theirs, or one was unclear
    hanging: int = 0  # lives that ended because a broker lost the end of a transaction
    rows: int = 0  # read and compared
    seconds: float = 0.0
    failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "deaths": dict(sorted(self.deaths.items())), "text": self.text()}

    def text(self) -> str:
        ways = ", ".join(f"{name} {count}" for name, count in sorted(self.deaths.items()))
        return (
            f"{self.rounds} rounds in {self.lives} lives, {self.seconds} s: {ways}; {self.fenced} processes fenced, "
            f"{self.doubts} came back from a doubt, "
            f"{self.hanging} stopped by a transaction that a broker left open, {self.rows} rows verified\n"
            + (f"FAILED: {self.failure}" if self.failure else "nothing lost, nothing twice, nothing left open")
        )


class Server:
    """Runs lives until enough rounds are done or something is wrong."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tally = Tally()
        self.chance = random.Random(options.seed)
        self._folder = Path(tempfile.mkdtemp(prefix="windrow-soak-", dir=options.folder))
        self._unreached = list(POINTS)
        self._until_s = 0.0
        self._say_s = 0.0
        self._brokers: Brokers | None = None
        self._children: set[int] = set()
        self._duration_s = 2.0  # of an attempt that is left alone

    def run(self) -> Tally:
        options, begun_s = self.options, time.monotonic()
        self._brokers = start(self._folder / "brokers", options.nodes, version=options.version, settings=SETTINGS)
        self._until_s = time.monotonic() + (options.minutes or 0) * 60
        gc.collect()
        gc.freeze()
        try:
            while self._goes_on():
                self._live()
                self._say(begun_s)
            shutil.rmtree(self._folder / "lives", ignore_errors=True)
        except Failure as failure:
            self.tally.failure = f"{failure} (seed {options.seed}; what is left: {self._folder})"
        finally:
            for pid in self._children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for node in self._brokers.nodes:
                node.kill()  # what they hold is thrown away
            if self.tally.failure is None:
                shutil.rmtree(self._folder, ignore_errors=True)
        self.tally.seconds = round(time.monotonic() - begun_s, 1)
        return self.tally

    def _goes_on(self) -> bool:
        if self.options.minutes is not None:
            return time.monotonic() < self._until_s
        return self.tally.rounds < self.options.rounds

    def _say(self, begun_s: float) -> None:
        now_s = time.monotonic()
        if self.options.say and now_s >= self._say_s:
            self._say_s = now_s + 60
            self.tally.seconds = round(now_s - begun_s, 1)
            print(self.tally.text().splitlines()[0], file=sys.stderr, flush=True)

    # -- one life

    def _live(self) -> None:
        assert self._brokers is not None
        self.tally.lives += 1
        seed = self.chance.randrange(1 << 40)
        root = self._folder / "lives" / str(self.tally.lives)
        root.mkdir(parents=True)
        made = Life(
            self._brokers.bootstrap, f"life-{self.tally.lives}", root, seed, self.options.events,
            min(self.options.nodes, 3), self.options.transaction_timeout_s,
        )  # fmt: skip
        model = Model(generate(seed, made.events))
        self._must_end(made, partial(lives.prepare, made, model), "prepare")
        reader = self._fork(made, partial(lives.read_along, made, model), "reader")
        status, number, epoch_rows = CRASHED, 0, self.chance.choice((60, 90, 150))
        while status != ENDED:
            number += 1
            self.tally.rounds += 1
            kind = "none" if number > MOST_ROUNDS else self._kind()
            try:
                status = self._round(made, number, kind, epoch_rows)
            except Hanging:
                self.tally.hanging += 1
                break
        if status == ENDED:
            self._look(made, model)
        (root / "stop").touch()
        self._wait(made, reader, "reader")
        self._verdict(made, "reader")
        shutil.rmtree(root)

    def _look(self, made: Life, model: Model) -> None:
        status = self._wait(made, self._fork(made, partial(lives.look, made, model), "look"), "look")
        if status == LOST_END:
            self.tally.hanging += 1
            return
        if status != ENDED:
            raise Failure(f"{made.name}: look ended with {status}: {_errors(made)}")
        (made.root / "finished").touch()
        self._verdict(made, "verdict")

    def _kind(self) -> str:
        if self.options.kind is not None:
            return self.options.kind
        return self.chance.choices(list(KINDS), list(KINDS.values()))[0]

    def _verdict(self, made: Life, name: str) -> None:
        if not (made.root / name).exists():
            raise Failure(f"{made.name}: no {name}: {_errors(made)}")
        said = json.loads((made.root / name).read_text())
        self.tally.rows += said["rows"]
        if said["problems"]:
            raise Failure(f"{made.name}: {'; '.join(said['problems'][:3])}")

    # -- one attempt and what happens to it

    def _round(self, made: Life, number: int, kind: str, epoch_rows: int) -> int:
        point, arrival = None, 1
        if kind == "point":
            point = self._point()
            arrival = 1 if point in ONCE else self.chance.choice((1, 1, 2, 3, 5))
        elif kind in ("pause", "zombie"):
            point, arrival = self.chance.choice(PAUSES), self.chance.choice((2, 3, 5))
        stops = kind in ("pause", "zombie")
        run = partial(lives.attempt, made, number, epoch_rows=epoch_rows, point=point, arrival=arrival, stops=stops)
        begun_s = time.monotonic()
        pid = self._fork(made, run, f"attempt {number}")
        if kind == "kill":
            status = self._killed(made, pid)
        elif kind == "pause":
            status = self._paused(made, pid, number)
        elif kind == "zombie":
            status = self._zombie(made, pid, number, epoch_rows)
        else:
            if kind.startswith("broker"):
                self._hurt_broker(kind, made.root / f"running.{number}")
            status = self._wait(made, pid, f"attempt {number}")
        if status == CRASHED and point is not None:
            self.tally.deaths[f"at {point}"] += 1
            with suppress(ValueError):
                self._unreached.remove(point)
        elif kind == "kill" and status == -signal.SIGKILL:
            self.tally.deaths["kill"] += 1
        elif status == FENCED and kind == "zombie":
            self.tally.fenced += 1
        elif status != ENDED and made.replication == 1 and "is open from offset" in _errors(made):
            raise Hanging
        elif status != ENDED:
            raise Failure(f"{made.name}, attempt {number} ({kind}) ended with {status}: {_errors(made)}")
        if status == ENDED and (made.root / f"reached.{number}").exists():
            said = json.loads((made.root / f"reached.{number}").read_text())
            self.tally.doubts += bool(said.get("kafka.recovered"))
        if status == ENDED and kind in ("none", "point"):
            self._duration_s = 0.7 * self._duration_s + 0.3 * (time.monotonic() - begun_s)
        return status

    def _point(self) -> str:
        return self.chance.choice(self._unreached or POINTS)

    def _killed(self, made: Life, pid: int) -> int:
        ended = self._sleep(pid, self.chance.uniform(0, self._duration_s))
        if ended is not None:
            return ended
        os.kill(pid, signal.SIGKILL)
        return self._wait(made, pid, "a killed attempt")

    def _paused(self, made: Life, pid: int, number: int) -> int:
        """One is stopped in the middle of a transaction, and goes on; brokers may have given the transaction up."""
        if not self._stopped(pid):
            return self._wait(made, pid, "one that should stop")
        time.sleep(self._pause_s())
        os.kill(pid, signal.SIGCONT)
        self.tally.deaths["pause"] += 1
        return self._wait(made, pid, "the one that was stopped")

    def _zombie(self, made: Life, pid: int, number: int, epoch_rows: int) -> int:
        """One is stopped, another takes over; then the first goes on. Of both one may say that it was replaced."""
        if not self._stopped(pid):
            return self._wait(made, pid, "one that should stop")
        run = partial(lives.attempt, made, number + 1_000, epoch_rows=epoch_rows, point=None, arrival=1)
        second = self._fork(made, run, f"attempt {number}, second")
        awake_s = time.monotonic() + self._pause_s()
        early = self._sleep(second, awake_s - time.monotonic())
        time.sleep(max(awake_s - time.monotonic(), 0))
        os.kill(pid, signal.SIGCONT)
        self.tally.deaths["zombie"] += 1
        first = self._wait(made, pid, "the one that was stopped")
        other = early if early is not None else self._wait(made, second, "the one that took over")
        if FENCED in (first, other):
            self.tally.fenced += 1
        if not {first, other} <= {ENDED, FENCED} or first == other == FENCED:
            raise Failure(f"{made.name}: of two processes one ended with {first}, one with {other}: {_errors(made)}")
        if first == FENCED and not any(word in _errors(made) for word in ("has taken over", "was taken over")):
            raise Failure(f"{made.name}: who was replaced does not say so: {_errors(made)}")
        return ENDED

    def _pause_s(self) -> float:
        return self.chance.uniform(*self.options.pauses_s)

    def _stopped(self, pid: int) -> bool:
        """Wait until a child has stopped itself; False when it ends before that."""
        flags = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            seen = os.waitid(os.P_PID, pid, flags)
            if seen is not None:
                return seen.si_code == os.CLD_STOPPED
            time.sleep(0.01)
        return False

    def _hurt_broker(self, kind: str, running: Path) -> None:
        """While the job runs: one that starts and finds no broker says so and ends."""
        assert self._brokers is not None
        node: Node = self.chance.choice(self._brokers.nodes)
        deadline_s = time.monotonic() + PATIENCE_S
        while not running.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, self._duration_s / 2))
        self.tally.deaths[kind] += 1
        if kind == "broker pause":
            node.pause()
            time.sleep(self._pause_s())
            node.resume()
            return
        (node.kill if kind == "broker kill" else node.stop)()
        self._brokers.restart(node)

    # -- children

    def _fork(self, made: Life, work: Callable[[], int], name: str) -> int:
        pid = fork(work, made.root / f"errors of {name}")
        self._children.add(pid)
        return pid

    def _must_end(self, made: Life, work: Callable[[], int], name: str) -> None:
        status = self._wait(made, self._fork(made, work, name), name)
        if status != ENDED:
            raise Failure(f"{made.name}: {name} ended with {status}: {_errors(made)}")

    def _wait(self, made: Life, pid: int, name: str) -> int:
        status = self._sleep(pid, PATIENCE_S + self.options.pauses_s[1])
        if status is not None:
            return status
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)  # its stacks go to a file
            time.sleep(1)
            os.kill(pid, signal.SIGKILL)
        raise Failure(f"{made.name}: {name} did not end within {PATIENCE_S:g} s")

    def _sleep(self, pid: int, seconds: float) -> int | None:
        """The status of a child when it ends within this time (minus the signal that ended it)."""
        deadline_s = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._children.discard(pid)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(0.01)


def _errors(made: Life) -> str:
    return " | ".join(f"{p.name}: {p.read_text()[-1500:]}" for p in sorted(made.root.glob("errors of *"))) or "no error"
