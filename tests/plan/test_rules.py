"""Rules of the planner: equal steps are one, conditions move up, results stay (law); plans as text (golden)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pyarrow as pa
import pytest

import windrow as wr
from windrow.plan.explain import explain
from windrow.plan.lower import lower
from windrow.plan.nodes import Aggregate, Filter

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = pa.table(
    {
        "key": [n % 5 for n in range(60)],
        "price": [n * 1.2345 for n in range(60)],
        "time": [START + timedelta(seconds=n) for n in range(60)],
    }
)


@pytest.fixture
def rows() -> wr.Stream:
    return wr.from_arrow(ROWS, name="rows").watermark("time", delay="1s")


def test_expressions_that_only_look_alike_are_kept_apart(rows: wr.Stream) -> None:
    """Regression: polars writes ``round(1)`` and ``round(2)`` alike; both sums were that of the first."""
    price = pl.col("price")
    sums = rows.group_by().agg(one=wr.sum(price.round(1)), two=wr.sum(price.round(2)), again=wr.sum(price.round(2)))
    (row,) = sums.collect().to_pylist()
    frame = pl.from_arrow(ROWS)
    assert isinstance(frame, pl.DataFrame)
    assert row["one"] == pytest.approx(frame["price"].round(1).sum())
    assert row["two"] == row["again"] == pytest.approx(frame["price"].round(2).sum())
    assert row["one"] != row["two"]


def test_state_of_another_expression_is_another_state(rows: wr.Stream) -> None:
    """Regression: a job that counts by months would have gone on with the state of one that counts by years."""

    def fingerprint(format: str) -> object:
        of = rows.group_by(part=pl.col("time").dt.strftime(format)).agg(n=wr.sum(pl.col("price").round(len(format))))
        return lower((of._node,)).fingerprint(4)["fingerprint"]

    assert fingerprint("%Y") == fingerprint("%Y")
    assert fingerprint("%Y") != fingerprint("%Y-%m")


def test_equal_steps_of_two_outputs_are_computed_once(rows: wr.Stream) -> None:
    """law: built twice, there once; and what only looks alike is there twice."""

    def counts(digits: int) -> wr.Table:
        dear = rows.filter(pl.col("price").round(digits) > 3)
        return dear.group_by("key").agg(n=wr.count())

    plan = lower((counts(1).filter(pl.col("n") > 1)._node, counts(1).filter(pl.col("n") > 2)._node))
    assert len(plan.stateful) == 1
    plan = lower((counts(1).filter(pl.col("n") > 1)._node, counts(2).filter(pl.col("n") > 2)._node))
    assert len(plan.stateful) == 2


def test_conditions_move_to_the_sources() -> None:
    """golden: through projections and unions, and below an aggregate when they are about its keys."""
    left, right = (wr.from_arrow(ROWS, name=name) for name in ("left", "right"))
    both = left.union(right).with_columns(twice=pl.col("price") * 2)
    text = both.group_by("key").agg(total=wr.sum("twice")).filter(pl.col("key") == 1)
    assert explain((text._node,)).splitlines() == [
        "group by [key] current: total = sum(twice) (state unbounded: one row a key)",
        '  with_columns [key, twice = [(col("price")) * (dyn int: 2)].alias("twice")]',
        "    union",
        '      filter [(col("key")) == (dyn int: 1)]',
        "        read 60 rows in memory (bounded) columns [key, price]",
        '      filter [(col("key")) == (dyn int: 1)]',
        "        read 60 rows in memory (bounded) columns [key, price]",
    ]


def test_conditions_stay_where_they_would_change_results(rows: wr.Stream) -> None:
    """law: not past a watermark, not past an aggregate whose values they are about or which another one reads."""
    plan = lower((rows.filter(pl.col("key") == 1)._node,))
    assert isinstance(plan.roots[0], Filter)
    counted = rows.group_by("key").agg(n=wr.count())
    plan = lower((counted.filter(pl.col("n") > 1)._node,))
    assert isinstance(plan.roots[0], Filter)
    plan = lower((counted.filter(pl.col("key") == 1)._node, counted._node))
    assert isinstance(plan.roots[0], Filter) and isinstance(plan.roots[1], Aggregate)


def test_a_topic_that_is_read_twice_is_read_once(tmp_path: Path) -> None:
    """law: two calls of read_log with the same arguments are one source; with others, two of one name are refused."""
    with wr.Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.append("t", [b'{"a": 1, "b": "x"}', b'{"a": 2, "b": "y"}'])
    schema = wr.schema(a="int64", b="string")

    def numbers(**options: Any) -> wr.Stream:
        return wr.read_log(tmp_path / "log", "t", schema=schema, end="latest", **options)

    both = wr.job(
        numbers().select("a").write_ipc(tmp_path / "a"),
        numbers().filter(pl.col("a") > 1).write_ipc(tmp_path / "b"),
        ledger=tmp_path / "log",
    )
    assert len(both.plan.sources) == 1 and both.run().events == 2
    assert wr.read_ipc(str(tmp_path / "b" / "*.arrow")).collect().to_pylist() == [{"a": 2, "b": "y"}]
    with pytest.raises(wr.PlanError, match="two sources of one job have the same name 't'"):
        wr.job(numbers().write_ipc(tmp_path / "c"), numbers(start="latest").write_ipc(tmp_path / "d"))


def test_a_plan_is_drawn(rows: wr.Stream) -> None:
    """golden: mermaid text; an SVG in which every step is, and nothing of a name can be markup."""
    hot = rows.filter(pl.col("price") > 1).group_by("key").agg(n=wr.count().alias("n"))
    job = wr.job(hot.for_each_batch(lambda batch, epoch: None, name="<b>&"))
    assert str(job.graph()).splitlines() == [
        "flowchart TD",
        '    n0(["read 60 rows in memory (bounded)<br>columns [key, price, time]"])',
        '    n1["watermark time - 1s"]',
        "    n0 --> n1",
        '    n2["filter [(col(&quot;price&quot;)) &gt; (dyn int:<br>1)]"]',
        "    n1 --> n2",
        '    n3[["group by [key] current: n =<br>count() (state unbounded: one row<br>a key)"]]',
        "    n2 --> n3",
        '    n4(["write function &lt;b&gt;&amp; (at-least-<br>once, upserts by key)"])',
        "    n3 --> n4",
    ]
    drawn = ElementTree.fromstring(job.graph()._repr_svg_())
    titles = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 5 and titles[-1] == "write function <b>& (at-least-once, upserts by key)"


@pytest.mark.parametrize("key", [0, 3, 9])
def test_moved_conditions_give_the_same_rows(rows: wr.Stream, key: int) -> None:
    """differential: against the condition applied to the whole result."""
    made = rows.with_columns(twice=pl.col("price") * 2).group_by("key").window(wr.tumbling("10s"))
    totals = made.agg(total=wr.sum("twice"), n=wr.count())
    order = [("key", "ascending"), ("window_start", "ascending")]
    whole = totals.collect().sort_by(order).to_pylist()
    chosen = totals.filter(pl.col("key") == key).collect().sort_by(order).to_pylist()
    assert chosen == [row for row in whole if row["key"] == key]
