"""Golden tests: plans with joins as text, with what is read of each side and what bounds the state."""

import polars as pl
import pytest

import windrow as wr
from windrow.arrow_types import to_arrow_schema
from windrow.plan.explain import explain


def stream(source, **columns):
    return wr.from_arrow(to_arrow_schema(wr.schema(**columns)).empty_table(), name=source)


def timed(source, **columns):
    return stream(source, **columns, at="timestamp").watermark("at", delay="4s")


@pytest.fixture
def sides():
    return timed("left", id="int64", price="int64", note="string"), timed(
        "right", id="int64", name="string", more="string"
    )


def lines(made):
    return explain((made._node,)).splitlines()


def test_each_side_gives_only_what_is_read(sides):
    left, right = sides
    joined = left.join(right, "id", ttl="1h", where=pl.col("price") > 3).select("id", "name")
    assert lines(joined) == [
        "select [id, name]",
        '  join inner on [id] within [-1h, 1h] where [(col("price")) > (dyn int: 3)] (state bounded by the watermark)',
        "    watermark at - 4s",
        "      read 0 rows in memory (bounded) columns [id, price, at]",
        "    watermark at - 4s",
        "      read 0 rows in memory (bounded) columns [id, name, at]",
    ]


def test_every_join_says_what_bounds_its_state(sides):
    left, right = sides
    shown = {
        "join left on [id] within [-5s, 10s] (state bounded by the watermark)": left.join_interval(
            right, "id", "left", lower="-5s", upper="10s"
        ),
        "join semi on [id] in tumbling(10s) (state bounded by the watermark)": left.join_window(
            right, "id", wr.tumbling("10s"), "semi"
        ),
        "join full on [id] as changes (state unbounded: all rows of both sides)": left.join(
            right, "id", "full", ttl="unbounded"
        ),
        "join left on [id] as of event time, nearest within 2s (state bounded by the watermark)": left.join_asof(
            right, "id", "nearest", tolerance="2s"
        ),
        "join inner on [id] as of event time, backward "
        "(state: the last row of each key, and what the watermark has not passed)": left.join_temporal(right, "id"),
    }
    for text, made in shown.items():
        assert lines(made)[0] == text


def test_conditions_move_to_the_side_that_they_are_about(sides):
    left, right = sides
    joined = left.join(right, "id", "left", ttl="1h")
    price, name, key = pl.col("price") > 3, pl.col("name") == "a", pl.col("id") == 7
    assert lines(joined.filter(price))[:2] == [lines(joined)[0], '  filter [(col("price")) > (dyn int: 3)]']
    assert lines(joined.filter(name))[0].startswith("filter")  # rows without a match have none
    both = lines(joined.filter(key))
    assert both[0].startswith("join") and sum(line.strip().startswith("filter") for line in both) == 2


def test_a_lookup_says_where_it_looks(sides, tmp_path):
    left, _ = sides
    table = pl.DataFrame({"id": [1], "more": ["x"]})
    assert lines(left.join_lookup(table, "id"))[0] == "look up inner on [id] in 1 rows in memory (no state)"
    again = left.join_lookup(lambda: table, "id", "left", refresh="1m")
    assert lines(again)[0] == "look up left on [id] in what <lambda>() gives, loaded again every 1m (no state)"


def test_many_to_one_keeps_the_key_of_the_many():
    orders = stream("orders", order="int64", customer="int64").group_by("order").agg(customer=wr.max("customer"))
    customers = stream("customers", customer="int64", name="string").group_by("customer").agg(name=wr.max("name"))
    assert orders.join(customers, "customer").key == ("order",)
    assert orders.join(customers, "customer", "semi").key == ("order",)
    assert customers.join(orders, "customer").key == ("order",)
