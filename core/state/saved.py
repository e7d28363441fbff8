"""Tables that a state is saved as: one that says what they are, and checked reading of all."""

from __future__ import annotations

import pyarrow as pa

from windrow.batch import Tables
from windrow.errors import StateError


class Meta:
    """The table ``meta``, one row: version, operator, and what else a kind of state has to say of a save."""

    def __init__(self, version: int, **fields: pa.DataType) -> None:
        self._version = version
        self._schema = pa.schema([("version", pa.int64()), ("operator", pa.string()), *fields.items()])

    def table(self, operator: str, **values: int | bool) -> pa.RecordBatch:
        """The table, with a value for each field."""
        row = {"version": self._version, "operator": operator, **values}
        return pa.RecordBatch.from_pylist([{name: row[name] for name in self._schema.names}], schema=self._schema)

    def read(self, tables: Tables, operator: str) -> dict[str, int]:
        """The values; raises `StateError` when they are missing, of another version or of another operator."""
        held = tables.get("meta")
        if held is None or held.num_rows != 1 or not set(self._schema.names) <= set(held.schema.names):
            raise StateError(f"{operator}: saved state has no valid meta table")
        row = held.to_pylist()[0]
        if row["version"] != self._version:
            raise StateError(f"{operator}: saved state has version {row['version']}, expected {self._version}")
        if row["operator"] != operator:
            raise StateError(f"{operator}: saved state is that of {row['operator']!r}")
        return {name: row[name] for name in self._schema.names if name != "operator"}


def table_of(tables: Tables, name: str, operator: str) -> pa.RecordBatch:
    """A saved table; raises `StateError` when it is not there."""
    if name not in tables:
        raise StateError(f"{operator}: saved state has no table {name!r}; there are: {', '.join(sorted(tables))}")
    return tables[name]
