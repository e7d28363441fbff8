"""Folders by the values of columns, ``day=2026-01-01/hour=07``, and when one of them is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa

from windrow.batch import take_rows
from windrow.errors import PlanError
from windrow.state.keys.local import group_rows
from windrow.units import time_us

#: What Hive, Spark and Flink call the folder of null.
NULL = "__HIVE_DEFAULT_PARTITION__"


class Layout:
    """Puts rows into folders named by the columns `by`, which the files themselves then lack.

    With `time_format`, the values of a folder joined by spaces are its time in that format (see `datetime.strptime`,
    UTC), and it is complete when the watermark has passed that time by `done_after_us`. Raises `PlanError` for columns
    that are not there, and when none would be left for the files.
    """

    def __init__(
        self, schema: pa.Schema, by: Sequence[str], time_format: str | None = None, done_after_us: int = 0
    ) -> None:
        missing = [name for name in by if name not in schema.names]
        if missing or not by or len(by) == len(schema):
            raise PlanError(
                f"partition_by: expected some of the columns {', '.join(schema.names)}, got {', '.join(by) or 'none'}"
            )
        self._by = tuple(by)
        self.file_schema = pa.schema([field for field in schema if field.name not in self._by])
        self._time_format = time_format
        self._done_after_us = done_after_us

    def split(self, batches: Sequence[pa.RecordBatch]) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """The rows of each folder in their order."""
        folders: dict[str, list[pa.RecordBatch]] = {}
        for batch in batches:
            keys = [batch.column(name) for name in self._by]
            grouped = group_rows(keys)
            assert grouped is not None  # no limit was given
            ids, first = grouped
            rows = batch.select(self.file_schema.names)
            names = self._folders([take_text(key, first) for key in keys])
            order = np.argsort(ids, kind="stable") if len(first) > 1 else None
            counts = np.bincount(ids, minlength=len(first))
            if order is not None:
                rows = take_rows(rows, order)
            start = 0
            for name, count in zip(names, counts.tolist(), strict=True):
                folders.setdefault(name, []).append(rows.slice(start, count))
                start += count
        yield from folders.items()

    def _folders(self, values: Sequence[list[str | None]]) -> list[str]:
        return [
            "/".join(
                f"{name}={NULL if value is None else quote(value, safe=' :+.,-_@')}"
                for name, value in zip(self._by, row, strict=True)
            )
            for row in zip(*values, strict=True)
        ]

    def complete(self, folder: str, watermark_us: int) -> bool:
        """Whether no more rows are expected for a folder; never without a `time_format`.

        Raises `PlanError` when its name is no time of the format.
        """
        if self._time_format is None:
            return False
        values = [unquote(part.partition("=")[2]) for part in folder.split("/")]
        if NULL in values:
            return False
        try:
            begins = datetime.strptime(" ".join(values), self._time_format)
        except ValueError as error:
            raise PlanError(
                f"partition_time: {folder!r} has no time of the format {self._time_format!r}: {error}"
            ) from None
        return time_us(begins) + self._done_after_us <= watermark_us

    @property
    def depth(self) -> int:
        """How many folders deep files lie."""
        return len(self._by)


def take_text(column: pa.Array, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str | None]:
    """The values at these rows as folder names have them."""
    values = column.take(pa.array(rows)).to_pylist()
    return [None if value is None else str(value) for value in values]
