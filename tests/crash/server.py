"""The fork server: lives one after the other, deaths as a seed says, and the count of both."""

from __future__ import annotations

import gc
import json
import os
import random
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash import disk, life, producer
from tests.crash.events import Model, generate
from tests.crash.life import CRASHED, ENDED, FENCED, Attempt
from tests.crash.mutations import MUTATIONS
from windrow.progress import faults

#: Points that are passed while a job starts: crashed at several times in a row.
RECOVERY = ("engine.opened", "engine.restored", "ledger.open", "ledger.restore", "sink.publish.before", "log.sweep")
#: Those of Kafka and its groups are died at against a real broker, in tests/kafka.
POINTS = tuple(point for point in faults.POINTS if not point.startswith(("kafka.", "group.")))
#: Points that the job never passes; `producer` does.
ELSEWHERE = ("log.retention",)
#: Ways to die: at a point, of an error there (in the same process it goes on), by a signal, replaced while stopped.
KINDS = {"point": 65, "error": 10, "kill": 20, "zombie": 5}
MOST_LIVES = 12  # for a point at which nothing has died yet
MOST_ROUNDS = 40  # of one life; then it is left alone, and has to end
PATIENCE_S = 60.0


class Failure(Exception):
    """Something was lost, doubled, or stuck."""


@dataclass
class Options:
    rounds: int = 200
    workers: int = 1
    seed: int = 0
    points: tuple[str, ...] = ()  # die there only
    kind: str | None = None  # one of KINDS only
    power: bool = True  # let the disk forget what was not synced
    folder: str | None = None
    mutation: str | None = None


@dataclass
class Tally:
    """What happened, for the line at the end."""

    rounds: int = 0
    lives: int = 0
    deaths: Counter[str] = field(default_factory=Counter)  # by point, "kill" and "zombie"
    reached: Counter[str] = field(default_factory=Counter)
    errors: int = 0  # processes that got over an error
    power_cuts: int = 0
    undone: int = 0  # files and names that power cuts took back
    fenced: int = 0
    rows: int = 0
    polls: int = 0
    seconds: float = 0.0
    failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.__dict__,
            "deaths": dict(sorted(self.deaths.items())),
            "reached": dict(self.reached),
            "text": self.text(),
        }

    def text(self) -> str:
        """For people."""
        missed = ", ".join(unreached(self)) or "none"
        return (
            f"{self.rounds} rounds in {self.lives} lives, {self.seconds} s: {sum(self.deaths.values())} deaths in "
            f"{len(self.deaths)} ways, {self.power_cuts} power cuts ({self.undone} files and names taken back), "
            f"{self.fenced} processes fenced, {self.polls} polls beside it, {self.rows} rows verified\n"
            f"points at which nothing died: {missed}\n"
            + (f"FAILED: {self.failure}" if self.failure else "nothing lost, nothing twice")
        )


class Server:
    """Runs lives until enough rounds are done or something is wrong."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tally = Tally()
        self.chance = random.Random(f"{options.seed}/{options.workers}/{options.mutation}/{options.points}")
        self._arrivals: dict[str, float] = {}  # of each point in an epoch, on average
        self._duration_s = 0.15  # of an attempt that is left alone
        self._queue: list[str] = []
        self._storm = 0

    def run(self) -> Tally:
        begun = time.monotonic()
        gc.collect()
        gc.freeze()
        try:
            if self.options.kind == "producer":
                extra = 0
                while self.tally.rounds < self.options.rounds or (self._missing() and extra < 2 * MOST_LIVES):
                    extra += self.tally.rounds >= self.options.rounds
                    self._producer_life()
            else:
                self._lives()
        except Failure as failure:
            self.tally.failure = str(failure)
        self.tally.seconds = round(time.monotonic() - begun, 2)
        return self.tally

    def _lives(self) -> None:
        """The rounds that were asked for, and as many more as it takes to die at every point."""
        while self.tally.rounds < self.options.rounds:
            self._life()
        if self.options.points or self.options.kind:
            return
        for point in list(unreached(self.tally)):
            self.options = replace(self.options, points=(point, "log.write.partial"))  # which leaves work to others
            for _ in range(MOST_LIVES):
                if not self.tally.deaths[point]:
                    self._life()

    def _missing(self) -> list[str]:
        return [point for point in producer.POINTS if not self.tally.deaths[point]]

    def _producer_life(self) -> None:
        root = Path(tempfile.mkdtemp(prefix="windrow-producer-", dir=self.options.folder))
        self.tally.lives += 1
        for _ in range(8):
            point = self.chance.choice([*producer.POINTS, *self._missing() * 4])
            arrival = 1 if point == "log.sweep" else 1 + int(self.chance.expovariate(1 / 12))
            seed = self.chance.randrange(1 << 30)
            pid = life.fork(partial(producer.produce, root, seed, point, arrival), root / "errors")
            status = self._wait(pid, PATIENCE_S)
            self.tally.rounds += 1
            self._judge(root, status, f"{point}:{arrival}")
            if status == CRASHED:
                self.tally.deaths[point] += 1
                if self.options.power and self.chance.random() < 0.5:
                    self.tally.power_cuts += 1
                    self.tally.undone += len(disk.cut_power(root / "syncs", life.roots(root)))
            look = partial(producer.inspect, root, sweep=seed % 4 == 0)
            self._expect(life.fork(look, root / "errors"), root, (ENDED,))
            problems = (root / "problems").read_text()
            if problems:
                raise Failure(f"{root}: after {point}:{arrival}: {problems}")
        shutil.rmtree(root)

    # -- a life --------------------------------------------------------------------------------------------------

    def _life(self) -> None:
        seed = self.chance.randrange(1 << 30)
        root = Path(tempfile.mkdtemp(prefix=f"windrow-life-{seed}-", dir=self.options.folder))
        model = Model(generate(seed, bad=True))
        self._expect(life.fork(lambda: life.prepare(root, model), root / "errors"), root, (ENDED,))
        reader = None
        if self.chance.random() < 0.3:
            reader = life.fork(lambda: life.read_along(root, model), root / "reader.errors")
        self.tally.lives += 1
        try:
            number = 0
            while not self._round(root, model, number):
                number += 1
        except Failure as failure:
            raise Failure(f"life {seed} (--seed {self.options.seed}), round {self.tally.rounds}: {failure}") from None
        finally:
            if reader is not None:
                (root / "stop").touch()
                self._wait(reader, PATIENCE_S)
        if reader is not None:
            self._check_reader(root)
        shutil.rmtree(root)

    def _round(self, root: Path, model: Model, number: int) -> bool:
        """One process and its death; True when the job has ended."""
        kind = self._kind() if number < MOST_ROUNDS else "nothing"
        point = self._point() if kind in ("point", "error") else None
        attempt = Attempt(
            root, number, self.chance.randrange(1 << 30), self.options.workers, point, self._arrival(point),
            kind == "error", self.options.mutation, self.chance.choice((30, 60, 120, 240)),
        )  # fmt: skip
        self.tally.rounds += 1
        begun = time.monotonic()
        pid = life.fork(lambda: life.attempt(attempt), root / "errors")
        if kind == "kill":
            status = self._kill(pid)
        elif kind == "zombie":
            status = self._zombie(pid, attempt)
        else:
            status = self._wait(pid, PATIENCE_S)
        where = f"{kind} {point or ''}:{attempt.arrival}, epochs of {attempt.epoch_rows}"
        self._judge(root, status, where)
        if kind == "nothing" and status != ENDED:
            raise Failure(f"{root}: left alone after {number} rounds, and did not end")
        if status == ENDED:
            self._learn(root, attempt, time.monotonic() - begun)
            self.tally.errors += kind == "error"
            (root / "ended").touch()
        else:
            self.tally.deaths[point or kind] += 1
            if self.options.power and kind != "zombie" and self.chance.random() < 0.4:
                self.tally.power_cuts += 1
                self.tally.undone += len(disk.cut_power(root / "syncs", life.roots(root)))
                where += ", power cut"
        self._look(root, model, where)
        return status == ENDED

    def _kill(self, pid: int) -> int:
        time.sleep(self.chance.random() * self._duration_s)
        os.kill(pid, signal.SIGKILL)
        return self._wait(pid, PATIENCE_S)

    def _zombie(self, pid: int, attempt: Attempt) -> int:
        """Stop a process, let another take its job over, and let the first go on: it must notice."""
        time.sleep(self.chance.random() * self._duration_s * 0.6)
        os.kill(pid, signal.SIGSTOP)
        other = Attempt(
            attempt.root, attempt.number + 1_000, attempt.seed + 1, attempt.workers, None, 1, False, attempt.mutation,
            self.chance.choice((30, 60, 120, 240)),
        )  # fmt: skip
        second = life.fork(lambda: life.attempt(other), attempt.root / "errors")
        # The stopped one may hold SQLite's write lock: then the second waits for it.
        time.sleep(self.chance.random() * self._duration_s)
        os.kill(pid, signal.SIGCONT)
        statuses = [self._wait(pid, PATIENCE_S), self._wait(second, PATIENCE_S)]
        self.tally.fenced += statuses.count(FENCED)
        for status in statuses:
            self._judge(attempt.root, status, "zombie")
        return ENDED if ENDED in statuses else FENCED

    # -- choices -------------------------------------------------------------------------------------------------

    def _kind(self) -> str:
        if self.options.kind or self.options.points:
            return self.options.kind or "point"
        if self._storm:
            return "point"
        return self.chance.choices(list(KINDS), list(KINDS.values()))[0]

    def _point(self) -> str:
        if self.options.points:
            return self.chance.choice(self.options.points)
        if self._storm or self.chance.random() < 0.06:
            self._storm = self._storm - 1 if self._storm else 4
            return self.chance.choice(RECOVERY)
        if not self._queue:
            self._queue = [point for point in POINTS if point not in ELSEWHERE]
            self.chance.shuffle(self._queue)
        return self._queue.pop()

    def _arrival(self, point: str | None) -> int:
        """Soon after the start, so that there are many deaths in a life."""
        if point is None or self._storm or (point in RECOVERY and self.chance.random() < 0.7):
            return 1
        return 1 + int(self.chance.expovariate(1 / (2 * self._arrivals.get(point, 4.0))))

    def _learn(self, root: Path, attempt: Attempt, seconds: float) -> None:
        notes = root / f"reached.{attempt.number}"
        if not notes.exists():
            return
        epochs, counts = json.loads(notes.read_text())
        self.tally.reached.update(counts)
        self._duration_s = 0.7 * self._duration_s + 0.3 * seconds
        for point, count in counts.items():
            before = self._arrivals.get(point, count / max(epochs, 1))
            self._arrivals[point] = 0.7 * before + 0.3 * count / max(epochs, 1)

    # -- waiting and judging -------------------------------------------------------------------------------------

    def _wait(self, pid: int, seconds: float) -> int:
        """The exit status of a child, which must not take for ever; killed by a signal: its number, negative."""
        descriptor = os.pidfd_open(pid)
        try:
            ready, _, _ = select.select([descriptor], [], [], seconds)
            if not ready:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise Failure(f"a process did not end within {seconds} s")
        finally:
            os.close(descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _expect(self, pid: int, root: Path, statuses: tuple[int, ...]) -> None:
        status = self._wait(pid, PATIENCE_S)
        if status not in statuses:
            raise Failure(f"{root}: status {status}: {_text(root / 'errors')}")

    def _judge(self, root: Path, status: int, where: str) -> None:
        if status not in (ENDED, CRASHED, FENCED, -signal.SIGKILL):
            raise Failure(f"{root}: {where}: status {status}: {_text(root / 'errors')}")
        if status == FENCED and not where.startswith("zombie"):
            raise Failure(f"{root}: {where}: fenced by nobody: {_text(root / 'errors')}")

    def _look(self, root: Path, model: Model, where: str) -> None:
        self._expect(life.fork(lambda: life.look(root, model), root / "errors"), root, (ENDED,))
        verdict = json.loads((root / "verdict").read_text())
        self.tally.rows += verdict["rows"]
        if verdict["problems"]:
            raise Failure(f"{root}: after {where}: " + "; ".join(verdict["problems"][:4]))
        if (root / "ended").exists() and not verdict["finished"]:
            raise Failure(f"{root}: ended, but the ledger does not say so")

    def _check_reader(self, root: Path) -> None:
        if not (root / "reader").exists():
            raise Failure(f"{root}: the reader failed: {_text(root / 'reader.errors')}")
        seen = json.loads((root / "reader").read_text())
        self.tally.polls += seen["polls"]
        if seen["problems"]:
            raise Failure(f"{root}: " + "; ".join(seen["problems"]))


def without(name: str, options: Options) -> Tally:
    """Run with a safeguard off, dying where that should show; the tally's `failure` says what was seen."""
    mutation = MUTATIONS[name]
    return Server(replace(options, mutation=name, points=mutation.points, kind=mutation.kind)).run()


def _text(path: Path) -> str:
    return path.read_text().strip().rpartition("\n")[2] if path.exists() else "no error was written"


def unreached(tally: Tally) -> Iterator[str]:
    """Points at which no process has died."""
    return (point for point in POINTS if point not in ELSEWHERE and not tally.deaths[point])
