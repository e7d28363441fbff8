"""Change events of databases, in the envelope of Debezium, as a Table.

Source of the format: Debezium's documentation of its connectors, "Change event values": ``before`` and ``after`` hold
the row, ``op`` is c (create), u (update), d (delete) or r (read by a snapshot).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from windrow.api.schema import SchemaLike, as_schema
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.datatypes import STRING, Field, Schema
from windrow.errors import PlanError

_OP = "op"
_SIDES = ("before", "after")
_GONE = "gone"


def debezium_schema(columns: SchemaLike, *, envelope: str = "") -> Schema:
    """The schema by which JSON change events are decoded: ``before_x`` and ``after_x`` for every column, and ``op``.

    `envelope` is where they lie in the documents: ``"payload"`` where the connector writes its schema with every event
    (``value.converter.schemas.enable``).
    """
    above = tuple(envelope.split(".")) if envelope else ()
    fields = [
        replace(field, name=f"{side}_{field.name}", path=(*above, side, *field.where), required=False)
        for side in _SIDES
        for field in as_schema(columns)
    ]
    return Schema((*fields, Field(_OP, STRING, (*above, _OP), required=True)))


def from_debezium(changes: Stream, key: str | Sequence[str]) -> Table:
    """The Table whose changes these are, with the columns of ``after``.

    `changes` come from a source as they are, decoded by `debezium_schema`; `key` tells rows apart and must be in
    ``before`` of deletions (it is, whatever the database's replica identity). A row replaces the one with its key,
    whatever ``before`` says, so that snapshots read twice and updates without ``before`` do no harm. Events that are
    not of rows (t, truncate; m, message) are left out, as are tombstones if the source skips them.
    State: one row for every key there ever was.
    """
    wanted = (key,) if isinstance(key, str) else tuple(key)
    names = [name.removeprefix("after_") for name in changes.columns if name.startswith("after_")]
    missing = [name for name in (_OP, *(f"before_{name}" for name in names)) if name not in changes.schema]
    if missing or not names:
        raise PlanError(
            f"from_debezium: no column {missing or 'after_...'}; decode the events by wr.debezium_schema(...), and "
            f"leave its columns as they are; columns there are: {changes.schema}"
        )
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise PlanError(f"from_debezium: key must be columns of the rows ({', '.join(names)}), got {list(wanted)}")
    if _GONE in names:
        raise PlanError(f"from_debezium: the rows have a column {_GONE!r} themselves; decode it under another name")
    deletes = pl.col(_OP) == "d"
    rows = changes.filter(pl.col(_OP).is_in(["c", "u", "d", "r"])).select(
        **{n: pl.when(deletes).then(pl.col(f"before_{n}")).otherwise(pl.col(f"after_{n}")) for n in names},
        **{_GONE: deletes},
    )
    there = rows.unique(wanted, keep="last").filter(~pl.col(_GONE)).drop(_GONE)
    assert isinstance(there, Table)
    return there
