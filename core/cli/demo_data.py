"""The demo's folder: events that are written once, results that are made anew each time.

DIR/demo.json   what the events are; says that the folder is the demo's own
DIR/events      embedded log with the topic nexmark
DIR/results     embedded log with the results and the progress of the job
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windrow.cli import figures
from windrow.errors import LogError

if TYPE_CHECKING:
    import pyarrow as pa

    from windrow.cli.bars import Advance

TOPIC = "nexmark"
PARTITIONS = 4
SEED = 1
CHUNK = 400_000  # events of all partitions between two commits of one; a multiple of PARTITIONS
AHEAD = 3  # commits whose events are generated in advance
BYTES_PER_EVENT = 350  # roughly, on disk


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of the demo lies."""

    folder: Path
    seed: int = SEED

    @property
    def events(self) -> Path:
        return self.folder / "events"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def marker(self) -> Path:
        return self.folder / "demo.json"

    def prepare(self, events: int, *, keep_results: bool) -> None:
        """Make the folder ready for `events` events: remove what another demo left in it, but nothing else.

        Raises `LogError` when the folder holds files that are not the demo's, or the disk is too full.
        """
        wanted = {"format": 1, "topic": TOPIC, "partitions": PARTITIONS, "seed": self.seed, "events": events}
        if self.folder.exists() and any(self.folder.iterdir()) and not self.marker.exists():
            raise LogError(f"{self.folder} holds something that is not the demo's; choose another folder with --data")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.marker.exists() and json.loads(self.marker.read_text()) != wanted:
            shutil.rmtree(self.events, ignore_errors=True)
            keep_results = False
        if not keep_results:
            shutil.rmtree(self.results, ignore_errors=True)
        if not self.events.exists():
            self._check_space(events)
        self.marker.write_text(json.dumps(wanted) + "\n")

    def _check_space(self, events: int) -> None:
        needed, free = 2 * events * BYTES_PER_EVENT, shutil.disk_usage(self.folder).free
        if free < needed:
            raise LogError(
                f"{self.folder}: {figures.count(events)} events and their results need about {figures.size(needed)}, "
                f"{figures.size(free)} are free; use fewer --events or another --data folder"
            )


def missing(place: Place, events: int) -> int:
    """How many of the events are not yet there."""
    from windrow.io.log.log import Log

    if not place.events.exists():
        return events
    with Log(place.events) as log:
        if TOPIC not in {topic.name for topic in log.topics()}:
            return events
        return events - sum(log.end_offset(TOPIC, partition) for partition in range(PARTITIONS))


def write_events(place: Place, events: int, advance: Advance) -> None:
    """Append the events that are not yet there; event n goes to partition n % PARTITIONS.

    A chunk's events of one partition are one commit, so an earlier run that was killed left whole chunks, and offsets
    tell which. Threads generate what comes next while this one appends.
    """
    from windrow.io.log.log import Log

    with Log(place.events) as log, ThreadPoolExecutor(2) as pool:
        log.create_topic(TOPIC, partitions=PARTITIONS, if_exists="ok")
        ends = [log.end_offset(TOPIC, partition) for partition in range(PARTITIONS)]
        wanted = [
            (first, partition)
            for first in range(0, events, CHUNK)
            for partition in range(PARTITIONS)
            if ends[partition] <= first // PARTITIONS and first + partition < events
        ]
        done = sum(ends)
        coming: deque[tuple[int, Future[pa.Array]]] = deque()
        advance(done, events, "")
        while wanted or coming:
            while wanted and len(coming) < AHEAD:
                first, partition = wanted.pop(0)
                coming.append(
                    (partition, pool.submit(_generate, place.seed, first, min(first + CHUNK, events), partition))
                )
            partition, generated = coming.popleft()
            values = generated.result()
            log.append(TOPIC, values, partition=partition)
            done += len(values)
            advance(done, events, "")


def _generate(seed: int, first: int, last: int, partition: int) -> pa.Array:
    from windrow.io.nexmark import nexmark_json

    return nexmark_json(first + partition, last, seed=seed, step=PARTITIONS)
