"""Golden tests: plans as text, with the columns that are pushed down to the sources."""

import polars as pl
import pytest

import windrow as wr
from windrow.plan.explain import explain


def stream(**columns):

    from windrow.arrow_types import to_arrow_schema

    return wr.from_arrow(to_arrow_schema(wr.schema(**columns)).empty_table(), name="bids")


@pytest.fixture
def bid_stream():
    return stream(auction="int64", bidder="int64", price="int64", channel="string", date_time="timestamp")


def test_only_needed_columns_are_read(bid_stream):
    hot = (
        bid_stream.filter(pl.col("price") > 100)
        .watermark("date_time", delay="4s")
        .group_by("auction")
        .window(wr.hopping("10s", "2s"))
        .agg(bids=wr.count(), spent=wr.sum(pl.col("price") * 2))
    )

    assert explain((hot._node,)).splitlines() == [
        'group by [auction] hopping(10s every 2s) final: bids = count(), spent = sum([(col("price")) * (dyn int: 2)]) '
        "(state bounded by the watermark)",
        "  watermark date_time - 4s",
        '    filter [(col("price")) > (dyn int: 100)]',
        "      read 0 rows in memory (bounded) columns [auction, price, date_time]",
    ]


def test_a_shared_step_is_shown_once(bid_stream):
    timed = bid_stream.watermark("date_time")
    one = timed.group_by("auction").window(wr.tumbling("10s")).agg(n=wr.count())
    other = timed.group_by().window(wr.tumbling("10s")).agg(top=wr.max("price"))

    text = explain((one._node, other._node))

    assert text.splitlines()[1] == "  #1 watermark date_time - 0s"
    assert text.splitlines()[-1] == "  (#1 again)"


def test_projection_drops_what_nobody_reads(bid_stream):
    doubled = bid_stream.with_columns(twice=pl.col("price") * 2, unused=pl.col("bidder") + 1)
    table = doubled.group_by("auction").agg(total=wr.sum("twice"))

    assert "columns [auction, price]" in explain((table._node,))
    assert "unused" not in explain((table._node,))


def test_rankings_say_what_they_keep(bid_stream):
    timed = bid_stream.watermark("date_time")
    hot = timed.group_by("auction").window(wr.tumbling("10s")).agg(n=wr.count()).top_k(1, pl.col("n") + 0, ties="rank")
    first = bid_stream.top_k(10, pl.col("price") * 2, per="auction", rank="rank")
    alone = timed.unique(["bidder", "auction"], keep="none")

    assert explain((hot._node, first._node, alone._node)).splitlines()[0] == (
        'rank first 1 per [window_start, window_end] by [[(col("n")) + (dyn int: 0)] descending] rank final in waiting '
        "(state bounded by the watermark)"
    )
    assert explain((first._node,)).splitlines() == [
        'rank first 10 per [auction] by [[(col("price")) * (dyn int: 2)] descending, arrival] row_number as changes '
        "in slots (state unbounded: 10 rows a group)",
        "  read 0 rows in memory (bounded) columns [auction, bidder, price, channel, date_time]",
    ]
    assert explain((alone._node,)).splitlines()[0] == (
        "rank only rows per [bidder, auction] by [arrival] row_number as changes "
        "in runs (state unbounded: 2 rows a group)"
    )
