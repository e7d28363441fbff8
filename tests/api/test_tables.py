"""Tables: their changes, whatever is done to them, add up to what polars makes of all events at once (differential)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import windrow as wr
from windrow.progress.memory import MemoryLedger
from windrow.testing import Driver, Feed

SCHEMA = wr.schema(user="int64", team="string", score="int64", weight="double")
EVENT = st.tuples(
    st.integers(0, 6),
    st.sampled_from(["a", "b", "c", None]),
    st.one_of(st.none(), st.integers(-(2**62), 2**62)),
    st.one_of(st.none(), st.floats(-1e9, 1e9)),
)
EPOCHS = st.lists(st.lists(EVENT, max_size=8), max_size=8)


def frame(events: list[tuple[Any, ...]]) -> pl.DataFrame:
    types = {"user": pl.Int64, "team": pl.String, "score": pl.Int64, "weight": pl.Float64}
    return pl.DataFrame(events, schema=types, orient="row")


def columns(events: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return frame(events).to_dict(as_series=False)


def bag(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Rows as often as they occur."""
    return Counter(tuple(row.values()) for row in rows)


def rounded(rows: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """With floats to nine digits: the means of polars and ours differ in the last ones."""
    made: Counter[tuple[Any, ...]] = Counter()
    for row, count in rows.items():
        made[tuple(f"{v:.9g}" if isinstance(v, float) else v for v in row)] += count
    return made


def run(make: Any, epochs: list[list[tuple[Any, ...]]], shards: int) -> list[list[dict[str, Any]]]:
    """What each epoch gave."""
    feed = Feed(SCHEMA)
    with Driver(make(feed.stream()), shards=shards) as driver:
        given = []
        for events in epochs:
            feed.append(columns(events))
            given.append(driver.step() if events else [])
        return given


def replayed(given: list[list[dict[str, Any]]], keyed: bool = True) -> Counter[tuple[Any, ...]]:
    """The rows after a change log; nothing is ever taken back that is not there, and no epoch says anything in vain
    (without a key, one row may go in one shard when an equal one comes in another)."""
    rows: Counter[tuple[Any, ...]] = Counter()
    for epoch in given:
        before = rows.copy()
        touched: Counter[tuple[Any, ...]] = Counter()
        for row in epoch:
            op = row.pop("op")
            ((key, _),) = bag([row]).items()
            rows[key] += 1 if op == "c" else -1
            touched[key] += 1
            assert rows[key] >= 0
        assert not keyed or all(count == 1 or rows[key] != before[key] for key, count in touched.items())
    return +rows


def teams_by_best(stream: wr.Stream) -> wr.Stream:
    """Two levels: the best score of every user, then of these by team how many, their sum and mean."""
    best = stream.group_by("user", "team").agg(best=wr.max("score"))
    return best.group_by("team").agg(
        n=wr.count(), some=wr.count("best"), total=wr.sum(pl.col("best") // 4), mean=wr.mean("best")
    )


@settings(max_examples=60, deadline=None)
@given(EPOCHS, st.sampled_from([1, 3]))
def test_an_aggregate_of_an_aggregate(epochs: list[list[tuple[Any, ...]]], shards: int) -> None:
    """differential: however the events are cut, the changes add up to the batch result."""
    given = run(teams_by_best, epochs, shards)
    best = (
        frame([event for epoch in epochs for event in epoch]).group_by("user", "team").agg(best=pl.col("score").max())
    )
    expected = []
    for team, scores in best.group_by("team").agg("best").iter_rows():
        some = [score for score in scores if score is not None]
        total, mean = (sum(score // 4 for score in some), sum(some) / len(some)) if some else (None, None)
        expected.append({"team": team, "n": len(scores), "some": len(some), "total": total, "mean": mean})
    assert rounded(replayed(given)) == rounded(bag(expected))


@settings(max_examples=60, deadline=None)
@given(EPOCHS)
def test_rows_that_no_longer_pass_a_filter_go(epochs: list[list[tuple[Any, ...]]]) -> None:
    """differential: of filters and projections, with and without the key."""
    every = frame([event for epoch in epochs for event in epoch])
    sums = every.group_by("user").agg(n=pl.len().cast(pl.Int64), top=pl.col("score").max()).filter(pl.col("n") % 3 == 1)

    def odd(stream: wr.Stream) -> wr.Stream:
        return stream.group_by("user").agg(n=wr.count(), top=wr.max("score")).filter(pl.col("n") % 3 == 1)

    assert replayed(run(odd, epochs, 2)) == bag(sums.to_dicts())
    halves = sums.select(half=pl.col("user") // 2, top="top")

    def without_key(stream: wr.Stream) -> wr.Stream:
        return odd(stream).select(half=pl.col("user") // 2, top="top")

    assert replayed(run(without_key, epochs, 2), keyed=False) == bag(halves.to_dicts())


@settings(max_examples=40, deadline=None)
@given(EPOCHS)
def test_floats_are_taken_back_too(epochs: list[list[tuple[Any, ...]]]) -> None:
    """differential: sums of floats over rows that come and go."""

    def by_team(stream: wr.Stream) -> wr.Stream:
        users = stream.group_by("user").agg(team=wr.max("team"), total=wr.sum("weight"))
        return users.group_by("team").agg(n=wr.count(), total=wr.sum("total"))

    users = (
        frame([event for epoch in epochs for event in epoch])
        .group_by("user")
        .agg(team=pl.col("team").max(), total=pl.when(pl.col("weight").count() > 0).then(pl.col("weight").sum()))
    )
    teams = users.group_by("team").agg(
        n=pl.len().cast(pl.Int64), total=pl.when(pl.col("total").count() > 0).then(pl.col("total").sum())
    )
    found = replayed(run(by_team, epochs, 2))
    assert {row[:2] for row in found} == {(row["team"], row["n"]) for row in teams.to_dicts()}
    totals = {row[0]: row[2] for row in found}
    for row in teams.to_dicts():
        shown = totals[row["team"]]
        assert (shown is None) == (row["total"] is None)
        assert shown is None or float(shown) == pytest.approx(row["total"], rel=1e-6, abs=1e-3)


def test_what_stays_is_not_sent_again() -> None:
    """law: a row that an epoch did not change is not in what it gives, as upserts or otherwise."""
    feed = Feed(SCHEMA)
    with Driver(feed.stream().group_by("user").agg(top=wr.max("score"))) as driver:
        feed.append(columns([(1, "a", 5, None), (2, "a", 7, None)]))
        assert bag(driver.step()) == bag([{"user": 1, "top": 5}, {"user": 2, "top": 7}])
        feed.append(columns([(1, "a", 4, None), (2, "a", 9, None)]))
        assert driver.step() == [{"user": 2, "top": 9}]


def test_state_of_a_table_of_a_table_is_restored() -> None:
    """law: killed between any two epochs and restored, at another number of workers: the same changes."""
    epochs = [[(n % 3, "ab"[n % 2], n * 7 % 5, None)] * 2 for n in range(9)]
    whole = run(teams_by_best, epochs, 2)
    ledger, parts = MemoryLedger(), []
    feed = Feed(SCHEMA)
    for number, events in enumerate(epochs):
        feed.append(columns(events))
        with Driver(teams_by_best(feed.stream()), shards=2, workers=1 + number % 2) as driver:
            driver.job._make_ledger = ledger.again  # type: ignore[method-assign]
            parts.append(driver.step())
    assert [bag(part) for part in parts] == [bag(part) for part in whole]


def test_collect_gives_the_rows_there_are_at_the_end() -> None:
    """differential: with a key, without one, of one row, and of nothing."""
    table = pa.table({"user": [1, 2, 1, 3], "score": [5, 6, 7, 6]})
    scores = wr.from_arrow(table).group_by("user").agg(top=wr.max("score"))
    high = scores.filter(pl.col("top") > 5).collect().sort_by("user").to_pylist()
    assert high == [{"user": 1, "top": 7}, {"user": 2, "top": 6}, {"user": 3, "top": 6}]
    assert sorted(scores.select("top").collect()["top"].to_pylist()) == [6, 6, 7]
    assert wr.from_arrow(table).group_by().agg(n=wr.count()).collect().to_pylist() == [{"n": 4}]
    assert scores.filter(pl.col("top") > 50).collect().schema.names == ["user", "top"]


def test_a_table_is_written_as_changes(tmp_path: Path) -> None:
    """law: what the log of changes adds up to is the Table; upserts are refused where they could not say it."""
    rows = wr.from_arrow(pa.table({"user": [1, 2, 1, 3], "score": [5, 6, 7, 6]}))
    few = rows.group_by("user").agg(n=wr.count()).filter(pl.col("n") < 2)
    with pytest.raises(wr.PlanError, match=r"rows of this Table can go away.*changes='log'"):
        few.write_log(tmp_path / "log", "few")
    with pytest.raises(wr.PlanError, match=r"key was dropped.*changes='log'"):
        rows.group_by("user").agg(n=wr.count()).select("n").write_parquet(tmp_path / "n")
    wr.Log(tmp_path / "log").close()
    job = few.write_log(tmp_path / "log", "few", changes="log")
    assert "changes with a column op" in job.explain()
    limits = wr.Limits(epoch_rows=1)
    wr.job(job, limits=limits).run()
    written = wr.read_log(tmp_path / "log", "few", end="latest").collect().to_pylist()
    assert written[0] == {"user": 1, "n": 1, "op": "c"} and {"user": 1, "n": 1, "op": "d"} in written
    assert replayed([[row] for row in written]) == bag([{"user": 2, "n": 1}, {"user": 3, "n": 1}])


def last_values(log: Path, topic: str) -> tuple[dict[bytes, bytes], int]:
    """What a reader of the events makes of them: the last value of each key, without those that are gone; and how many
    tombstones there were."""
    found: dict[bytes, bytes] = {}
    gone = 0
    with wr.Log(log) as opened:
        events = wr.read_log(opened, topic, end="latest").collect().to_pylist()
    for event in events:
        gone += event["value"] is None
        if event["value"] is None:
            assert found.pop(event["key"], None) is not None, "a tombstone for what was never there"
        else:
            found[event["key"]] = event["value"]
    return found, gone


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), min_size=1, max_size=25), st.integers(1, 6))
def test_rows_that_go_are_tombstones_in_a_log(tmp_path: Path, users: list[tuple[int, str]], rows: int) -> None:
    """Law: the last events of the keys are the Table, whatever the epochs; keys of several columns are documents."""
    place = tmp_path / "log"
    shutil.rmtree(place, ignore_errors=True)
    wr.Log(place).close()
    table = pa.table({"user": [user for user, _ in users], "site": [site for _, site in users]})
    events = wr.from_arrow(table)
    counts = events.group_by("user", "site").agg(n=wr.count()).filter(pl.col("n") % 2 == 1)
    one = events.group_by("user").agg(n=wr.count()).filter(pl.col("n") < 3)
    jobs = [
        counts.write_log(place, "pairs", format="json", partitions=2),
        one.write_log(place, "one", format="json", key="user"),
    ]
    assert "upserts by user, site with deletions" in jobs[0].explain()
    wr.job(*jobs, limits=wr.Limits(epoch_rows=rows), name="job").run()
    wanted = {(row["user"], row["site"]): row["n"] for row in counts.collect().to_pylist()}
    found, _ = last_values(place, "pairs")
    assert {tuple(json.loads(key).values()): json.loads(value)["n"] for key, value in found.items()} == wanted
    found, _ = last_values(place, "one")
    singles = {int.from_bytes(key, "big"): json.loads(value) for key, value in found.items()}
    assert singles == {row["user"]: row for row in one.collect().to_pylist()}


def test_raw_events_are_written_as_they_are(tmp_path: Path) -> None:
    """Oracle: key, value, timestamp and headers; a Table by its key, with tombstones."""
    wr.Log(tmp_path / "log").close()
    times = pa.array([5, 6], pa.timestamp("us", "UTC"))
    headers = pa.array(
        [[{"key": "h", "value": b"x"}], None], pa.list_(pa.struct({"key": pa.string(), "value": pa.binary()}))
    )
    events = pa.table({"key": [b"a", b"b"], "value": [b"1", b"2"], "timestamp": times, "headers": headers})
    wr.job(wr.from_arrow(events).write_log(tmp_path / "log", "raw", format="raw"), name="raw").run()
    assert wr.read_log(tmp_path / "log", "raw", end="latest").collect().to_pylist() == events.to_pylist()
    rows = wr.from_arrow(pa.table({"key": ["a", "b", "a"], "x": ["1", "2", "3"]}), name="rows")
    single = rows.group_by("key").agg(n=wr.count(), value=wr.max("x")).filter(pl.col("n") < 2).select("key", "value")
    job = single.write_log(tmp_path / "log", "table", format="raw")
    wr.job(job, limits=wr.Limits(epoch_rows=1), name="table").run()
    assert last_values(tmp_path / "log", "table") == ({b"b": b"2"}, 1)
    with pytest.raises(wr.PlanError, match="created without headers"):
        wr.job(wr.from_arrow(events).write_log(tmp_path / "log", "table", format="raw"), name="late").run()
    with pytest.raises(wr.PlanError, match="format='raw' takes the columns headers, key, timestamp, value"):
        rows.write_log(tmp_path / "log", "other", format="raw")


def test_keys_of_events_are_those_of_the_table(tmp_path: Path) -> None:
    """Golden: tombstones by another key would delete other rows."""
    rows = wr.from_arrow(pa.table({"user": [1], "site": ["a"]}))
    few = rows.group_by("user", "site").agg(n=wr.count()).filter(pl.col("n") < 2)
    for write in (
        lambda: few.write_log(tmp_path, "x", format="json", key="site"),
        lambda: few.write_kafka("localhost:9", "x", key="site"),
    ):
        with pytest.raises(wr.PlanError, match=r"each by its key \(user, site\); that must be the key of the events"):
            write()
    with pytest.raises(wr.PlanError, match="one column chooses the partition"):
        rows.write_log(tmp_path, "x", key=["user", "site"])


def test_what_cannot_be_done_with_a_table_is_said() -> None:
    """law: at build time, with the way out."""
    rows = wr.from_arrow(pa.table({"user": [1], "time": pa.array([0], pa.timestamp("us", "UTC"))}))
    table = rows.group_by("user").agg(last=wr.max("time"))
    with pytest.raises(wr.PlanError, match=r"agg\(x=last\): rows of a Table can be taken back, which only count, sum"):
        table.group_by("last").agg(x=wr.last("user"))
    with pytest.raises(wr.PlanError, match="watermark: not on a Table"):
        table.watermark("last")
    with pytest.raises(wr.PlanError, match="union: of streams, or of Tables"):
        table.union(rows.rename({"time": "last"}))
