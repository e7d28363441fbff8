"""Bytewax's part of `benchmarks.peers.nexmark`: JSON lines by orjson, batches of 10,000, one worker in this process.

From memory: dicts in a list, their times as `datetime`, made before the clock starts and only handed on by the source.
Its documentation has no columnar way, so a row is a dict. Watermarks are kept for each key; what needs a whole window
(q5, q7) is therefore one key. Two inputs are merged by event time in the source, since sources are not aligned.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from rounds import TASK, files, rounds

BATCH = 10_000
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
TEN, TWO = timedelta(seconds=10), timedelta(seconds=2)
Row = dict[str, Any]
Stream = Any


def event_time(row: Row) -> datetime:
    time: str | datetime = row["dateTime"]
    return time if isinstance(time, datetime) else _parsed(time)


def _parsed(time: str) -> datetime:
    return datetime.fromisoformat(time).replace(tzinfo=UTC)


CLOCK = win.EventClock(event_time, wait_for_system_duration=timedelta(seconds=4))
TUMBLING = win.TumblingWindower(length=TEN, align_to=BEGIN)


def rows_of(data: Path) -> Iterator[Row]:
    """The events of all kinds that the query reads, in order of event time."""
    return heapq.merge(
        *(_lines(files(data, kind, 1, "json")[0]) for kind in TASK["kinds"]), key=lambda row: row["dateTime"]
    )


def _lines(path: str) -> Iterator[Row]:
    with Path(path).open("rb") as file:
        yield from map(orjson.loads, file)


class _Reader(StatelessSourcePartition[Row]):
    def __init__(self, batches: Iterator[list[Row]]) -> None:
        self._batches = batches

    def next_batch(self) -> list[Row]:
        return next(self._batches)


class Events(DynamicSource[Row]):
    def __init__(self, data: Path) -> None:
        self._data = data

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Reader:
        if TASK["source"] == "memory":
            return _Reader(iter(in_memory))
        several = len(TASK["kinds"]) > 1
        return _Reader(_batches(rows_of(self._data) if several else _lines(files(self._data, *TASK["kinds"], 1)[0])))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


#: All events of the next run, when they come from memory.
in_memory: list[list[Row]] = []


def prepare(data: Path) -> None:
    in_memory.clear()
    if TASK["source"] == "memory":
        in_memory.extend(_batches({**row, "dateTime": _parsed(row["dateTime"])} for row in rows_of(data)))


class _Writer(StatelessSinkPartition[Row]):
    def __init__(self, kept: list[Row] | None) -> None:
        self._kept = kept

    def write_batch(self, items: list[Row]) -> None:
        if self._kept is not None:
            self._kept.extend(items)


class Results(DynamicSink[Row]):
    """Keeps rows in a list, or drops them."""

    def __init__(self, kept: list[Row] | None) -> None:
        self._kept = kept

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer:
        return _Writer(self._kept)


def pick(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def day_of(time: str | datetime) -> str:
    return time.strftime("%Y-%m-%d") if isinstance(time, datetime) else time[:10]


def start_of(window: int, every: timedelta = TEN) -> str:
    return (BEGIN + window * every).isoformat()


def q0(events: Stream) -> Stream:
    return op.map("pick", events, lambda row: pick(row, "auction", "bidder", "price", "dateTime", "extra"))


def q1(events: Stream) -> Stream:
    rate = Decimal("0.908")
    return op.map("euros", q0(events), lambda row: {**row, "price": str(row["price"] * rate)})


def q2(events: Stream) -> Stream:
    found = op.filter("few", events, lambda row: row["auction"] % 123 == 0)
    return op.map("pick", found, lambda row: pick(row, "auction", "price"))


def _windows(
    keyed: Stream, windower: Any, build: Callable[[], Any], fold: Callable[[Any, Row], Any], merge: Any
) -> Stream:
    return win.fold_window("fold", keyed, CLOCK, windower, build, fold, merge).down


def q5(events: Stream) -> Stream:
    def count(counts: Counter[int], row: Row) -> Counter[int]:
        counts[row["auction"]] += 1
        return counts

    def best(item: tuple[str, tuple[int, Counter[int]]]) -> Iterable[Row]:
        counts = item[1][1]
        most = max(counts.values())
        return [{"auction": auction, "num": number} for auction, number in counts.items() if number == most]

    hops = win.SlidingWindower(length=TEN, offset=TWO, align_to=BEGIN)
    return op.flat_map("best", _windows(op.key_on("one", events, lambda _: "0"), hops, Counter, count, _add), best)


def _add(left: Counter[int], right: Counter[int]) -> Counter[int]:
    return left + right


def q7(events: Stream) -> Stream:
    def highest(best: list[Row], row: Row) -> list[Row]:
        if not best or row["price"] > best[0]["price"]:
            return [row]
        return [*best, row] if row["price"] == best[0]["price"] else best

    def merge(left: list[Row], right: list[Row]) -> list[Row]:
        for row in right:
            left = highest(left, row)
        return left

    windows = _windows(op.key_on("one", events, lambda _: "0"), TUMBLING, list, highest, merge)
    return op.flat_map("rows", windows, lambda item: item[1][1])


def q8(events: Stream) -> Stream:
    """Persons and their auctions under one key; a window's row has come when both have."""

    def seen(both: Row, row: Row) -> Row:
        return {**both, "seller": True} if "seller" in row else {**both, "id": row["id"], "name": row["name"]}

    def found(item: tuple[str, tuple[int, Row]]) -> Iterable[Row]:
        window, both = item[1]
        return [{**pick(both, "id", "name"), "window_start": start_of(window)}] if len(both) == 3 else []

    keyed = op.key_on("person", events, lambda row: str(row.get("seller", row["id"])))
    return op.flat_map("found", _windows(keyed, TUMBLING, dict, seen, lambda a, b: {**a, **b}), found)


def q11(events: Stream) -> Stream:
    def extend(session: Any, row: Row) -> Any:
        count, first, last = session
        time = row["dateTime"]
        return count + 1, min(first or time, time), max(last or time, time)

    def merge(left: Any, right: Any) -> Any:
        first, last = min(left[1] or right[1], right[1] or left[1]), max(left[2] or right[2], right[2] or left[2])
        return left[0] + right[0], first, last

    def named(item: tuple[str, tuple[int, Any]]) -> Row:
        count, first, last = item[1][1]
        first, last = event_time({"dateTime": first}), event_time({"dateTime": last})
        return {
            "bidder": int(item[0]), "bid_count": count, "starttime": first.isoformat(),
            "endtime": (last + TEN).isoformat(),
        }  # fmt: skip

    keyed = op.key_on("bidder", events, lambda row: str(row["bidder"]))
    sessions = _windows(keyed, win.SessionWindower(gap=TEN), lambda: (0, None, None), extend, merge)
    return op.map("named", sessions, named)


def q17(events: Stream) -> Stream:
    def day(totals: list[int] | None, row: Row) -> tuple[list[int], Row]:
        price = row["price"]
        totals = totals or [0, 0, 0, 0, price, price, 0]
        totals[0] += 1
        totals[1 if price < 10_000 else 2 if price < 1_000_000 else 3] += 1
        totals[4], totals[5], totals[6] = min(totals[4], price), max(totals[5], price), totals[6] + price
        names = ("total_bids", "rank1_bids", "rank2_bids", "rank3_bids", "min_price", "max_price", "sum_price")
        known = dict(zip(names, totals, strict=True))
        key = {"auction": row["auction"], "day": day_of(row["dateTime"])}
        return totals, {**key, **known, "avg_price": totals[6] // totals[0]}

    keyed = op.key_on("auction", events, lambda row: f"{row['auction']} {day_of(row['dateTime'])}")
    return op.key_rm("rows", op.stateful_map("day", keyed, day))


def q18(events: Stream) -> Stream:
    def last(kept: Row | None, row: Row) -> tuple[Row, Row]:
        kept = row if kept is None or row["dateTime"] >= kept["dateTime"] else kept
        return kept, kept

    keyed = op.key_on("both", events, lambda row: f"{row['bidder']} {row['auction']}")
    return op.key_rm("rows", op.stateful_map("last", keyed, last))


def q20(events: Stream) -> Stream:
    def join(state: list[Any] | None, row: Row) -> tuple[list[Any], list[Row]]:
        state = state or [None, []]
        if "seller" in row:
            own = {key: value for key, value in row.items() if key not in ("id", "dateTime", "extra")}
            state[0] = {**own, "auction_dateTime": row["dateTime"], "auction_extra": row["extra"]}
            found, state[1] = [{**bid, **state[0]} for bid in state[1]], []
        elif state[0] is None:
            state[1].append(row)
            found = []
        else:
            found = [{**row, **state[0]}]
        return state, found if state[0] and state[0]["category"] == 10 else []

    keyed = op.key_on("auction", events, lambda row: str(row["id"] if "seller" in row else row["auction"]))
    return op.key_rm("rows", op.stateful_flat_map("join", keyed, join))


def ysb(events: Stream) -> Stream:
    with (Path(TASK["data"]) / "campaigns.json").open("rb") as file:
        campaigns = {row["ad"]: row["campaign"] for row in map(orjson.loads, file)}
    views = op.filter("views", events, lambda row: row["event_type"] == "view")
    keyed = op.key_on("campaign", views, lambda row: str(campaigns[row["ad_id"]]))
    counts = _windows(keyed, TUMBLING, int, lambda count, _: count + 1, lambda a, b: a + b)
    named = ("campaign", "window_start", "views")
    return op.map(
        "named", counts, lambda item: dict(zip(named, (item[0], start_of(item[1][0]), item[1][1]), strict=True))
    )


QUERIES: dict[str, Callable[[Stream], Stream]] = {
    "q0": q0, "q1": q1, "q2": q2, "q5": q5, "q7": q7, "q8": q8, "q11": q11, "q17": q17, "q18": q18, "q20": q20,
    "ysb": ysb,
}  # fmt: skip
#: Rows of these change; the last of each key counts.
_KEYS = {"q17": ("auction", "day"), "q18": ("bidder", "auction")}


def run(data: Path, out: Path | None) -> None:
    kept: list[Row] | None = None if out is None else []
    flow = Dataflow("query")
    op.output("results", QUERIES[TASK["query"]](op.input("events", flow, Events(data))), Results(kept))
    run_main(flow)
    if out is not None and kept is not None:
        if TASK["query"] in _KEYS:
            kept = list({tuple(row[name] for name in _KEYS[TASK["query"]]): row for row in kept}.values())
        (out / "rows.json").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in kept))


rounds(run, warm=False, prepare=prepare)
