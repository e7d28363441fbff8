"""Change events of a database become the table that the database has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.api.test_tables import bag, replayed
from windrow.testing import Driver, Feed

ROWS = wr.schema(id="int64", name="string", size="double")
CHANGES = st.lists(
    st.lists(st.tuples(st.sampled_from("curd"), st.integers(0, 4), st.sampled_from(["x", "y", None])), max_size=6),
    max_size=6,
)


def row(key: int, name: str | None) -> dict[str, Any]:
    return {"id": key, "name": name, "size": key / 2}


def events(wished: list[list[tuple[str, int, str | None]]], full: bool) -> Any:
    """The events a database would send, and what it holds in the end; without `full`, before is only the key."""
    held: dict[int, dict[str, Any]] = {}
    epochs = []
    for epoch in wished:
        sent = []
        for op, key, name in epoch:
            if op == "d" and key not in held:
                continue
            before = held.pop(key, None)
            after = None if op == "d" else row(key, name)
            if after is not None:
                held[key] = after
                op = "r" if op == "r" else "c" if before is None else "u"
            if before is not None and not full:
                before = {"id": key, "name": None, "size": None} if op == "d" else None
            sent.append((op, before, after))
        epochs.append(sent)
    return epochs, list(held.values())


def columns(sent: list[Any]) -> dict[str, list[Any]]:
    sides = {"before": [before or {} for _, before, _ in sent], "after": [after or {} for _, _, after in sent]}
    made = {f"{side}_{name}": [r.get(name) for r in rows] for side, rows in sides.items() for name in ROWS.names}
    return made | {"op": [op for op, _, _ in sent]}


@settings(max_examples=40, deadline=None)
@given(CHANGES, st.booleans(), st.sampled_from([1, 3]))
def test_the_table_is_the_database_s(wished: Any, full: bool, shards: int) -> None:
    """law: the changes add up to what the database holds, with and without the rows before."""
    epochs, held = events(wished, full)
    feed = Feed(wr.debezium_schema(ROWS))
    with Driver(wr.from_debezium(feed.stream(), key="id"), shards=shards) as driver:
        given_rows = []
        for sent in epochs:
            feed.append(columns(sent))
            given_rows.append(driver.step() if sent else [])
    assert replayed(given_rows) == bag(held)


@pytest.mark.parametrize("envelope", ["", "payload"])
def test_envelopes_in_json(tmp_path: Any, envelope: str) -> None:
    """differential: decoded from documents, with the schema around them or without; other events are left out."""
    epochs, held = events([[("c", 1, "x"), ("c", 2, "y"), ("u", 1, None), ("d", 2, None), ("r", 3, "x")]], True)
    documents = [{"before": b, "after": a, "op": op, "ts_ms": 1, "source": {}} for op, b, a in epochs[0]]
    documents.append({"before": None, "after": None, "op": "m"})
    with wr.Log(tmp_path) as log:
        log.create_topic("t", partitions=1)
        wrapped = [{"schema": {}, envelope: each} if envelope else each for each in documents]
        log.append("t", values=[json.dumps(each).encode() for each in wrapped])
    schema = wr.debezium_schema(ROWS, envelope=envelope)
    table = wr.from_debezium(wr.read_log(tmp_path, "t", schema=schema, end="latest"), key=["id"])
    assert bag(table.collect().to_pylist()) == bag(held)
    assert table.key == ("id",)


def test_what_is_no_change_event() -> None:
    """law: said at build time."""
    rows = Feed(ROWS).stream()
    with pytest.raises(wr.PlanError, match=r"no column \['op'\]; decode the events by wr.debezium_schema"):
        wr.from_debezium(rows, key="id")
    changes = Feed(wr.debezium_schema(ROWS)).stream()
    with pytest.raises(wr.PlanError, match=r"key must be columns of the rows \(id, name, size\), got \['ident'\]"):
        wr.from_debezium(changes, key="ident")
    with pytest.raises(wr.PlanError, match="a column 'gone' themselves"):
        wr.from_debezium(Feed(wr.debezium_schema(wr.schema(id="int64", gone="bool"))).stream(), key="id")
