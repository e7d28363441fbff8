"""Every Nexmark query against DuckDB (differential): straight, from a log, and through failures at random places."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import windrow as wr
from windrow.api.job import Job
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.cli.demo_data import PARTITIONS, TOPIC, Place, write_events
from windrow.cli.nexmark.check import check
from windrow.cli.nexmark.command import read_minutes
from windrow.cli.nexmark.events import Generated, from_log, generate
from windrow.cli.nexmark.queries import QUERIES, minutes_as_files
from windrow.expressions import consolidated
from windrow.io.memory import MemorySink
from windrow.plan.nodes import SinkNode
from windrow.progress.memory import MemoryLedger
from windrow.testing import At, installed

EVENTS = 12_000
POINTS = ("epoch.read", "epoch.applied", "epoch.state_taken", "commit.staged", "commit.committed")
names = pytest.mark.parametrize("query", QUERIES)


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(EVENTS, 7)


@names
def test_from_memory(query: str, generated: Generated) -> None:
    """differential: one worker, whole epochs."""
    result = QUERIES[query](generated.streams()).collect()
    assert str(check(query, result, generated.with_arrival(1))) == f"equal to DuckDB's, {result.num_rows:,} rows"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_events(seed: int) -> None:
    """differential: every query over the events of three seeds more; at 1 M events each they are equal, too."""
    events = generate(EVENTS // 2, seed)
    unequal = []
    for query, build in QUERIES.items():
        outcome = check(query, build(events.streams()).collect(), events.with_arrival(1))
        if not outcome.equal:
            unequal.append(f"{query}: {outcome}")
    assert unequal == []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("nexmark"), 7)
    place.prepare(EVENTS, keep_results=False)
    write_events(place, EVENTS, lambda *_: None)
    return place.events


@names
def test_from_a_log_in_small_epochs(query: str, log: Path, generated: Generated) -> None:
    """differential: mixed JSON in four partitions, random epochs, several shards and workers."""
    limits = wr.Limits(epoch_rows=random.Random(query).randrange(500, 4_000))
    result = QUERIES[query](from_log(log, TOPIC)).collect(limits=limits, shards=3, workers=2)
    assert check(query, result, generated.with_arrival(PARTITIONS)).equal


class Died(Exception):
    """Stands for the end of a process."""


def die() -> None:
    raise Died


@names
def test_through_failures(query: str, generated: Generated) -> None:
    """crash: killed again and again, restored from the ledger each time at another number of workers."""
    result = through_failures(lambda: QUERIES[query](generated.streams()), random.Random(query))
    assert check(query, result, generated.with_arrival(1)).equal


def through_failures(build: Callable[[], Stream], dice: random.Random) -> pa.Table:
    """The stream's result after runs of which all but the last died somewhere."""
    ledger, kept = MemoryLedger(), MemorySink()

    def make(schema: pa.Schema, in_ledger: bool) -> MemorySink:
        kept.schema = schema
        return kept

    deaths = 0
    for run in range(6):
        stream = build()
        key = stream.key if isinstance(stream, Table) else None
        sink = SinkNode(stream.schema, False, stream._node, "kept", "memory", make, changes="weighted", key=key)
        limits = wr.Limits(epoch_rows=dice.randrange(300, 3_000))
        job = Job((sink,)).configured(limits=limits, shards=3, workers=1 + run % 3)
        job._make_ledger = ledger.again  # type: ignore[method-assign]
        handler = At(dice.choice(POINTS), die, dice.randrange(1, 4 if run else 2)) if run < 5 else None
        try:
            with installed(handler or (lambda _: None)), job:
                job.run()
            break
        except Died:
            deaths += 1
    assert deaths
    table = kept.table()
    return consolidated(table, key) if isinstance(stream, Table) else table


def test_minutes_are_files_that_are_marked(generated: Generated, tmp_path: Path) -> None:
    """differential: q10's files have all rows, each minute's folder is marked, and only at the end of its minute."""
    stream = QUERIES["q10"](generated.streams())
    with minutes_as_files(stream, tmp_path / "out") as job:
        wr.job(job, limits=wr.Limits(epoch_rows=1_000)).run()
    result = read_minutes(tmp_path / "out", stream.columns)
    assert check("q10", result, generated.with_arrival(1)).equal
    minutes = {path.parent for path in (tmp_path / "out").glob("*/*/*.csv")}
    assert minutes and all((path / "_SUCCESS").exists() for path in minutes)


def test_a_wrong_result_is_found(generated: Generated) -> None:
    """The check can fail: for a row that is missing, one too many, and one that is different."""
    right = QUERIES["q2"](generated.streams()).collect()
    events = generated.with_arrival(1)
    assert check("q2", right, events).equal
    assert "missing" in str(check("q2", right.slice(1), events))
    assert "only here" in str(check("q2", pa.concat_tables([right, right.slice(0, 1)]), events))
    other = right.set_column(1, "price", pa.array([n + 1 for n in right["price"].to_pylist()]))
    assert not check("q2", other, events).equal


def test_every_query_reads_only_what_it_needs(generated: Generated) -> None:
    """golden: columns that are read of each source."""
    text = {name: query(generated.streams()).explain() for name, query in QUERIES.items()}
    assert "columns [auction, price, dateTime]" in text["q2"]
    assert "columns [id, name, city, state, dateTime]" in text["q3"]
    assert "columns [auction, dateTime]" in text["q5"]
