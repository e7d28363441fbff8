"""Job: one or several sinks that run together, in epochs, each committed as a whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

from windrow.api import sharing
from windrow.clock import Clock
from windrow.config import KEPT_SHARDS, Limits
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.explain import by_value, explain
from windrow.plan.graph import Graph
from windrow.plan.lower import lower
from windrow.progress.ledger import Caching, Ledger
from windrow.runtime.engine import Engine
from windrow.runtime.metrics import Count, EpochReport, Progress
from windrow.runtime.runner import Runner
from windrow.runtime.workers import available_cores

if TYPE_CHECKING:
    from windrow.io.base import Sink
    from windrow.io.log.log import Log

#: What stands before the address of a Kafka cluster where a log's path could stand.
CLUSTER = "kafka://"

Until = Literal["caught up"] | Callable[[Progress], bool] | None
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """How a job runs; see `job`."""

    name: str | None = None
    ledger: str | None = None
    workers: int | None = None
    shards: int | None = None
    limits: Limits = field(default_factory=Limits)
    clock: Clock | None = None
    state_cache: Path | None = None
    group: bool = False
    instance: str | None = None

    @property
    def threads(self) -> int:
        """`workers` as told, else one for each core that the process may use now."""
        return self.workers or available_cores()


class Job:
    """A pipeline with its sinks, ready to run. A context manager: leaving it closes what it opened."""

    def __init__(self, sinks: tuple[nodes.SinkNode, ...], settings: Settings | None = None) -> None:
        self._sinks = sinks
        self._settings = settings or Settings()
        self.plan = lower(sinks)  # raises PlanError now rather than when it runs
        if self._settings.group:
            sharing.check(self.plan, self._settings.ledger)
        elif self._settings.instance is not None:
            raise PlanError("instance= names one of several processes: wr.job(..., group=True, instance=...)")
        self.progress = Progress()
        self._runner: Runner | None = None
        self._ended = False
        self._stop = threading.Event()
        self._begun = 0.0
        self._stages: dict[str, Count] = {}
        self._sources: dict[str, dict[str, Any]] = {}

    def configured(self, **settings: Any) -> Job:
        """The same job with other settings; see `job` for what there is."""
        return Job(self._sinks, replace(self._settings, **settings))

    @property
    def name(self) -> str:
        """What the ledger knows the job by: given, or the names of its sinks."""
        return self._settings.name or "+".join(sink.name for sink in self._sinks)

    # -- running -------------------------------------------------------------------------------------------------

    def run(
        self,
        until: Until = None,
        epochs: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Run epochs until bounded sources end, or else until stopped.

        `until`: ``"caught up"`` stops when everything that is there now has been read; a function of `Progress` stops
        when it gives True. `epochs` stops after so many, `timeout` after so many seconds. `stop()`, SIGINT and SIGTERM
        stop too: always after a whole epoch, committed. Called again, a stopped job goes on where it was. One that has
        come to the end of its sources has closed its windows: it stays finished, in every process, and reads nothing.
        `on_progress` is called after every epoch, and now and then while nothing comes.

        A partition of which a piece is damaged for good comes to a halt there while the others go on
        (`Progress.stopped`). When nothing else is left to read, `RecordError` names it.
        """
        if isinstance(until, str) and until not in ("caught up", "caught-up"):
            raise PlanError(f"run: until must be 'caught up' or a function, got {until!r}")
        if self._ended:
            return self.progress
        self._stop.clear()
        with self._signals(), self._closing_on_error() as runner:
            deadline = None if timeout is None else time.monotonic() + timeout
            done = 0
            while not self._stop.is_set() and not runner.finished and (epochs is None or done < epochs):
                remaining = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
                if remaining <= 0:
                    break
                ran = runner.step(wait_s=0.0 if isinstance(until, str) and runner.lag() == 0 else remaining)
                if not ran and not runner.held:
                    ran = runner.settle()
                done += ran
                self._report(runner, on_progress, idle=not ran)
                if callable(until) and until(self.progress):
                    break
                if isinstance(until, str) and not ran and runner.lag() == 0:
                    break
            finished = runner.finished
            runner.drain()
            self.progress.finished = finished  # also of a job that had come to its end before, and reads nothing
            self._report(runner, on_progress, idle=False)
            if isinstance(until, str):
                runner.check_stopped()
        if finished:  # nothing will ever come any more: connections and files need not wait for close()
            self._ended = True
        if finished or self._settings.group:  # others have the partitions that this instance does not work on
            self.close()
        return self.progress

    def step(self) -> EpochReport | None:
        """Run and commit one epoch of what is there; None when nothing is there, or the job has ended."""
        if self._settings.group:
            raise PlanError("step: a job in a group has epochs of every partition; run(epochs=...) stops after some")
        if self._ended:
            return None
        with self._closing_on_error() as runner:
            if not (runner.step() or runner.settle()):
                return None
            runner.drain()
            reports = runner.take_reports()
            self._take(reports)
            return reports[-1]

    def stop(self) -> None:
        """Let `run` return after the epoch it is in; may be called from another thread or a signal handler."""
        self._stop.set()

    @property
    def ended(self) -> bool:
        """True when the bounded sources have been read to their end and everything is committed."""
        return self._ended or self._open().finished

    def wait(self, seconds: float) -> None:
        """Return when there may be something to do, or after `seconds`."""
        if not self._ended:
            self._open().wait(seconds)

    def close(self) -> None:
        """Close connectors and ledger; what is committed stays, and the next run goes on from there."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._stages, self._sources = runner.counts(), runner.source_metrics()
            runner.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- looking -------------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """The plan, where progress is kept, and what is guaranteed."""
        path = self._ledger_path()
        where = _described(path)
        shards = self._settings.shards or (None if path is None else KEPT_SHARDS)
        divided = "as many shards as suit" if shards is None else f"{shards} shards,"
        divided = "in a group, every partition apart," if self._settings.group else divided
        head = f"job {self.name}: {divided} {self._settings.threads} workers\nledger: {where}\n"
        letters = sorted(self._dead_letter_topics())
        if letters:
            head += f"dead letters: {', '.join(letters)}, committed with the ledger\n"
        dense = by_value(self.plan)
        if dense:
            head += f"keys by value while they lie close together, else hashed: {', '.join(dense)}\n"
        return head + explain(self._sinks)

    def graph(self) -> Graph:
        """The plan as a drawing: ``print`` it for mermaid text, ``.svg()`` it, or leave it to a notebook."""
        return Graph(self._sinks)

    def metrics(self) -> dict[str, Any]:
        """Counters since the job was opened: totals; of every source what became of its records; and batches, rows,
        bytes and nanoseconds of every stage."""
        stages = self._stages if self._runner is None else self._runner.counts()
        sources = self._sources if self._runner is None else self._runner.source_metrics()
        return {
            "job": self.name,
            "progress": self.progress.as_dict(),
            "sources": sources,
            "stages": {name: count.as_dict() for name, count in sorted(stages.items())},
        }

    def __repr__(self) -> str:
        return f"Job({self.name!r}, sinks={[sink.name for sink in self._sinks]})"

    def _repr_html_(self) -> str:
        from windrow.api.render import job_html

        return job_html(self)

    # -- inside --------------------------------------------------------------------------------------------------

    def _open(self) -> Runner:
        if self._runner is None:
            self._runner = self._make_instance() if self._settings.group else self._make_engine()
            self._begun = time.monotonic()
        return self._runner

    def _make_instance(self) -> Runner:
        return sharing.instance(self.plan, self.name, self._settings, self._dead_letter_sinks)

    def _make_engine(self) -> Runner:
        settings = self._settings
        engine = Engine(
            self.plan,
            self._make_ledger(),
            job=self.name,
            shards=settings.shards,
            workers=settings.threads,
            limits=settings.limits,
            clock=settings.clock,
            dead_letters=self._dead_letter_sinks(),
        )
        try:
            engine.open()
        except BaseException:
            engine.close()
            raise
        return engine

    @contextmanager
    def _closing_on_error(self) -> Iterator[Runner]:
        """After any error the state in memory is worth nothing: close, so that the next call starts from the ledger."""
        try:
            yield self._open()
        except BaseException:
            self.close()
            raise

    def _make_ledger(self) -> Ledger:
        path = self._ledger_path()
        if self._settings.state_cache is not None and (path is None or not path.startswith(CLUSTER)):
            raise PlanError("state_cache is for jobs whose ledger is in Kafka; state elsewhere is on a disk already")
        if path is None:
            from windrow.progress.memory import MemoryLedger

            return MemoryLedger(durable=False)
        places: list[nodes.SinkNode | nodes.SourceNode] = [*self._sinks, *self.plan.sources]
        for place in places:
            if place.log_path == path and place.make_ledger is not None:
                ledger: Ledger = place.make_ledger()
                if self._settings.state_cache is not None and isinstance(ledger, Caching):
                    ledger.cache_in(self._settings.state_cache)
                return ledger
        from windrow.io.log.ledger import LogLedger

        return LogLedger(path)

    def _ledger_path(self) -> str | None:
        """Where progress is kept: as told, else the log that is written to, else the log that is read from."""
        if self._settings.ledger is not None:
            return self._settings.ledger or None
        written = [sink.log_path for sink in self._sinks if sink.log_path]
        read = [source.log_path for source in self.plan.sources if source.log_path]
        return next(iter([*written, *read]), None)

    def _dead_letter_topics(self) -> dict[str, bool]:
        """The topics for dead letters, and whether each may be made; they are where the ledger is."""
        topics: dict[str, bool] = {}
        for source in self.plan.sources:
            if source.dead_letter:
                topics[source.dead_letter] = topics.get(source.dead_letter, False) or source.create_dead_letter
        return topics

    def _dead_letter_sinks(self) -> dict[str, Sink]:
        topics = self._dead_letter_topics()
        path = self._ledger_path()
        if topics and path is None:
            raise PlanError("dead letters are committed with the ledger, and this job has none: give it ledger=")
        from windrow.api.sinks import dead_letter_sink

        places: list[nodes.SinkNode | nodes.SourceNode] = [*self._sinks, *self.plan.sources]
        makers = [place.make_dead_letters for place in places if place.log_path == path]
        make = next((maker for maker in makers if maker is not None), None)
        with ExitStack() as made:
            sinks: dict[str, Sink] = {}
            for topic, create in topics.items():
                sinks[topic] = dead_letter_sink(str(path), topic) if make is None else make(topic, create)
                made.callback(sinks[topic].close)
            made.pop_all()
        return sinks

    def _report(self, runner: Runner, on_progress: Callable[[Progress], None] | None, *, idle: bool) -> None:
        reports = runner.take_reports()
        self._take(reports)
        self.progress.stopped, self.progress.restoring = runner.stopped(), runner.restoring()
        if on_progress is not None and (reports or idle):
            self.progress.seconds = time.monotonic() - self._begun
            on_progress(self.progress)

    def _take(self, reports: list[EpochReport]) -> None:
        for report in reports:
            self.progress.take(report, time.monotonic() - self._begun)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM stops after the epoch, the second acts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop()
            signal.signal(number, before[number])

        for chosen in (signal.SIGINT, signal.SIGTERM):
            before[chosen] = signal.signal(chosen, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _described(path: str | None) -> str:
    """Where a job's progress and state are kept."""
    if path is None:
        return "none: every run starts at the beginning"
    if path.startswith(CLUSTER):
        return f"Kafka cluster {path[len(CLUSTER) :]}, in transactions with what is read and written there"
    return f"embedded log {path}"


def job(
    *jobs: Job,
    name: str | None = None,
    ledger: Log | str | Path | None = None,
    workers: int | None = None,
    shards: int | None = None,
    limits: Limits | None = None,
    clock: Clock | None = None,
    state_cache: str | Path | None = None,
    group: bool = False,
    instance: str | None = None,
) -> Job:
    """Several sinks as one job: sources that they share are read once, and every epoch commits all of them together.

    `name` is what the ledger knows the job by (default: the names of the sinks); `ledger` an embedded log to keep
    progress in when no sink or source is one; `workers` threads (default: one for each core that the process may use);
    `shards` how finely state is divided, fixed once the job has committed (default: 8, or what suits the workers where
    no ledger keeps it); `limits` bounds of an epoch; `clock` for tests. `state_cache`: a local folder in which a job
    whose ledger is in Kafka keeps a copy of its state, so that a restart on the same disk need not fetch it; it may be
    lost or damaged at any time, and only costs that fetch.

    `group`: several processes run this job at the same time, under the same `name`, and share the partitions of its
    Kafka topics; each partition has state and epochs of its own, which go where it goes (docs/groups.md). `workers`
    are then how many partitions are worked on at once, and state is not divided further. `instance`: a name of this
    process that it keeps over restarts; when it comes back before the session has timed out, nothing else has moved.
    """
    if not jobs:
        raise PlanError("job: at least one sink is needed, for example stream.write_log(...)")
    if any(count is not None and count < 1 for count in (workers, shards)):
        raise PlanError(f"job: workers and shards must be 1 or more, got {workers} and {shards}")
    path = None if ledger is None else getattr(ledger, "path", ledger)
    if path is not None and not isinstance(path, str | Path):
        raise PlanError(f"job: ledger must be an embedded log or its path, got {ledger!r}")
    path = None if path is None else str(path)
    cache = None if state_cache is None else Path(state_cache)
    if group and name is None:
        raise PlanError("job: a group needs a name that all its instances give: wr.job(..., name=..., group=True)")
    settings = Settings(name, path, workers, shards, limits or Limits(), clock, cache, group, instance)
    return Job(tuple(sink for one in jobs for sink in one._sinks), settings)
