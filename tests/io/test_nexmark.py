"""The Nexmark generator: proportions, skew and layout of the original; ranges by themselves; a source to be cut."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.errors import LogError, PlanError
from windrow.io.nexmark import ALL, AUCTION, BID, PERSON, Nexmark, NexmarkSource, nexmark_batches, nexmark_json
from windrow.io.nexmark.strings import _channel_id

KINDS = ("person", "auction", "bid")


def test_first_events() -> None:
    """golden: these exact events, so that a change of the generator cannot go unseen."""
    batches = nexmark_batches(0, 50, seed=7)
    assert {kind: batch.num_rows for kind, batch in batches.items()} == {"person": 1, "auction": 3, "bid": 46}
    assert [batches[kind].schema for kind in KINDS] == [PERSON, AUCTION, BID]
    assert batches["person"].column("id").to_pylist() == [1000]
    assert batches["auction"].column("id").to_pylist() == [1000, 1001, 1002]
    bid = batches["bid"].slice(0, 1).to_pylist()[0]
    assert bid["dateTime"] == datetime(2026, 1, 1, tzinfo=UTC)
    documents = nexmark_json(0, 5, seed=7)
    assert documents[0].as_py().startswith(b'{"event_type":0,"person":{"id":1000,"name":"')
    assert documents[0].as_py().endswith(b'"},"auction":null,"bid":null}')
    assert documents[1].as_py().startswith(b'{"event_type":1,"person":null,"auction":{"id":1000,"itemName":"')
    assert documents[1].as_py().endswith(b'"},"bid":null}')
    assert (
        documents[4]
        .as_py()
        .startswith(
            b'{"event_type":2,"person":null,"auction":null,"bid":{"auction":%d,"bidder":%d,"price":%d,"channel":"'
            % (bid["auction"], bid["bidder"], bid["price"])
        )
    )
    assert b'"dateTime":"2026-01-01 00:00:00.000","extra":"' in documents[4].as_py()


def document_of(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as the original's JSON, made with the standard library."""
    times = {
        name: value.replace(tzinfo=None).isoformat(" ", "milliseconds")
        for name, value in row.items()
        if isinstance(value, datetime)
    }
    return {"event_type": KINDS.index(kind)} | {other: row | times if other == kind else None for other in KINDS}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 120), st.integers(1, 7), st.sampled_from([1, 10, 1000]), st.integers(0, 3))
def test_ranges_are_independent(first: int, count: int, step: int, out_of_order: int, seed: int) -> None:
    """law: an event is a function of seed and number: a range is its parts one after another; JSON says the same."""
    options: dict[str, Any] = {"seed": seed, "out_of_order": out_of_order, "step": step}
    last = first + count * step
    middle = first + count // 2 * step
    whole = nexmark_batches(first, last, **options)
    parts = [nexmark_batches(first, middle, **options), nexmark_batches(middle, last, **options)]
    for kind in KINDS:
        assert whole[kind].to_pylist() == [row for part in parts for row in part[kind].to_pylist()]
        documents = nexmark_json(first, last, kind=kind, **options).to_pylist()
        rows = whole[kind].to_pylist()
        assert [json.loads(text) for text in documents] == [document_of(kind, row)[kind] for row in rows]
    mixed = [json.loads(text) for text in nexmark_json(first, last, **options).to_pylist()]
    left = {kind: iter(whole[kind].to_pylist()) for kind in KINDS}
    assert mixed == [document_of(KINDS[m["event_type"]], next(left[KINDS[m["event_type"]]])) for m in mixed]
    assert len(mixed) == count


def test_proportions_skew_and_sizes() -> None:
    """golden: 1 : 3 : 46, half of the bids for the hot auction, sizes and escapes as measured on the original."""
    batches = nexmark_batches(0, 50_000, seed=1)
    bids, auctions, persons = batches["bid"], batches["auction"], batches["person"]
    assert (persons.num_rows, auctions.num_rows, bids.num_rows) == (1_000, 3_000, 46_000)
    auction_ids, bidders = Counter(bids.column("auction").to_pylist()), Counter(bids.column("bidder").to_pylist())
    hot_bids = sum(count for auction, count in auction_ids.items() if auction % 100 == 0)
    assert 0.48 < hot_bids / 46_000 < 0.53
    hot_bidders = sum(count for bidder, count in bidders.items() if bidder % 100 == 1)
    assert 0.73 < hot_bidders / 46_000 < 0.78
    sellers = Counter(auctions.column("seller").to_pylist())
    assert 0.73 < sum(count for seller, count in sellers.items() if seller % 100 == 0) / 3_000 < 0.79
    assert set(auctions.column("category").to_pylist()) == set(range(10, 15))
    assert min(auction_ids) >= 1000 and max(auction_ids) <= 1000 + 3_000 + 10
    assert min(bidders) >= 1000 and max(bidders) <= 1000 + 1_000 + 10
    channels = Counter(bids.column("channel").to_pylist())
    assert 0.48 < sum(channels[name] for name in ("Google", "Facebook", "Baidu", "Apple")) / 46_000 < 0.52
    assert 9_000 < len(channels) <= 10_004
    prices = bids.column("price").to_pylist()
    assert min(prices) >= 100 and max(prices) <= 10**8
    extras = bids.column("extra").to_pylist()
    assert {len(extra) for extra in extras} == set(range(54, 82))
    assert 1.2 < sum(extra.count("\\") for extra in extras) / 46_000 < 1.4
    documents = nexmark_json(0, 50_000, kind="bid", seed=1)
    assert 245 < len(documents.buffers()[2]) / 46_000 < 265
    for batch, wanted, columns in (
        (persons, 200, ["name", "emailAddress", "creditCard", "city", "state", "extra"]),
        (auctions, 500, ["itemName", "description", "extra"]),
    ):
        fixed = 8 if batch is persons else 48
        sizes = [fixed + sum(map(len, row.values())) for row in batch.select(columns).to_pylist()]
        assert abs(sum(sizes) / len(sizes) - wanted) < 3
    lengths = [
        (end - start).total_seconds()
        for start, end in zip(
            auctions.column("dateTime").to_pylist(), auctions.column("expires").to_pylist(), strict=True
        )
    ]
    assert 0.15 < sum(lengths) / len(lengths) < 0.18  # 1,666 events at 10,000 a second


def test_event_time_and_order() -> None:
    """law: times run at the rate, in whole milliseconds; `out_of_order` permutes groups and leaves none out."""
    plain = nexmark_json(0, 3_000, timestamps="iso", rate=1_000.0).to_pylist()
    shuffled = nexmark_json(0, 3_000, timestamps="iso", rate=1_000.0, out_of_order=1_000).to_pylist()
    assert sorted(plain) == sorted(shuffled)
    assert sorted(plain[1_000:2_000]) == sorted(shuffled[1_000:2_000])
    assert plain != shuffled
    assert b'"dateTime":"2026-01-01T00:00:02.999Z"' in plain[-1]


def test_channel_ids() -> None:
    """golden: bits in reverse as Java's Integer.reverse has them, and the one value whose abs is negative."""
    assert [_channel_id(i) for i in (0, 1, 2, 3)] == [0, -(2**31), 2**30, 2**30]


def read_all(source: NexmarkSource, partition: int, max_rows: int, columns: tuple[str, ...]) -> list[Any]:
    rows: list[Any] = []
    offset = source.start_offset(partition)
    while (end := source.plan(partition, offset, max_rows, 1 << 30)) > offset:
        assert end - offset <= max_rows
        for piece in source.read(partition, offset, end, columns):
            assert piece.first_offset == offset
            offset += piece.data.num_rows
            rows += piece.data.to_pylist()
        assert offset == end
    assert offset == source.end_offset(partition)
    return rows


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["person", "auction", "bid", "all"]),
    st.integers(0, 300),
    st.integers(1, 4),
    st.integers(1, 200),
    st.sampled_from([1, 20]),
)
def test_any_cut_of_the_source_gives_the_same_rows(
    kind: Any, events: int, partitions: int, max_rows: int, out_of_order: int
) -> None:
    """law: partitions together hold every event once, however they are cut and whichever columns are asked for."""
    options: dict[str, Any] = {"events": events, "seed": 3, "out_of_order": out_of_order}
    whole = NexmarkSource(kind, **options)
    assert whole.bounded and whole.replayable
    rows = read_all(whole, 0, 10_000, tuple(whole.schema.names))
    source = NexmarkSource(kind, partitions=partitions, **options)
    parts = [read_all(source, p, max_rows, tuple(source.schema.names)) for p in source.partitions()]
    assert [parts[i % partitions][i // partitions] for i in range(len(rows))] == rows
    times = read_all(source, 0, max_rows, ("dateTime",))
    assert times == [{"dateTime": row["dateTime"]} for row in parts[0]]
    if out_of_order == 1 and kind != "all":
        assert rows == nexmark_batches(0, events, seed=3)[kind].to_pylist()


def test_all_kinds_in_one_stream() -> None:
    """law: the rows of ``kind="all"`` are the mixed JSON documents."""
    source = NexmarkSource("all", events=200, seed=5)
    rows = read_all(source, 0, 1_000, tuple(ALL.names))
    documents = [json.loads(text) for text in nexmark_json(0, 200, seed=5).to_pylist()]
    for row, document in zip(rows, documents, strict=True):
        kind = KINDS[row["event_type"]]
        assert row["dateTime"] == row[kind]["dateTime"]
        assert document_of(kind, row[kind]) == document


def test_no_columns_and_no_end() -> None:
    """law: without columns there still are rows; without a number of events there is always more."""
    (piece,) = NexmarkSource("bid", events=100).read(0, 0, 10, ())
    assert (piece.data.num_rows, piece.data.num_columns) == (10, 0)
    endless = NexmarkSource("bid")
    assert not endless.bounded
    assert endless.plan(0, 10**9, 5, 1 << 20) == 10**9 + 5
    endless.wait(0.0)
    endless.close()


def test_options_that_make_no_sense() -> None:
    """law: refused when made, with what was wrong."""
    for make, message in (
        (lambda: NexmarkSource("bids"), "kind must be"),  # type: ignore[arg-type]
        (lambda: NexmarkSource(partitions=0), "partitions"),
        (lambda: NexmarkSource(out_of_order=953), "no multiple of 953"),
        (lambda: NexmarkSource(rate=0), "rate must be more than 0"),
        (lambda: Nexmark(hot_auctions=0), "hot ratios"),
    ):
        with pytest.raises(PlanError, match=message):
            make()
    with pytest.raises(LogError, match="101 was asked for"):
        NexmarkSource("all", events=100).plan(0, 101, 1, 1)
    assert pa.types.is_timestamp(BID.field("dateTime").type)
