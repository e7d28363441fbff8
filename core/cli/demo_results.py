"""The results of the demo, read back from the log as anyone else would read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.cli import figures

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.cli.demo_data import Place
    from windrow.io.log.log import Log

SHOWN = 8


def show_results(place: Place, console: Console) -> None:
    """The auctions with the most bids, and the windows with the highest price."""
    from windrow.io.log.log import Log

    with Log(place.results, create=False, read_only=True) as log:
        hot, rows = top_rows(log, "hot_auctions", "bids", distinct="auction")
        _print(
            console, hot, f"hot_auctions: the auctions with the most bids within 10 s (of {figures.count(rows)} rows)"
        )
        best, rows = top_rows(log, "highest_bids", "price", distinct="window_start")
        _print(console, best, f"highest_bids: the highest prices within 10 s (of {figures.count(rows)} rows)")


def top_rows(log: Log, topic: str, column: str, *, distinct: str, count: int = SHOWN) -> tuple[pa.Table, int]:
    """The rows with the `count` largest values of `column`, largest first, the earliest window first where equal, and
    only the first one of each value of `distinct`; and how many rows the topic has.

    Memory is bounded by one piece of the log.
    """
    info = log.topic(topic)
    best, rows = info.schema.empty_table(), 0
    for partition in range(info.partitions):
        next_offset, end = log.start_offset(topic, partition), log.end_offset(topic, partition)
        while next_offset < end:
            piece = pa.Table.from_batches(log.read(topic, partition, next_offset))
            next_offset += piece.num_rows
            rows += piece.num_rows
            if best.num_rows == count:  # most rows cannot be among the first any more
                piece = piece.filter(pc.greater_equal(piece[column], best[column][-1]))
            best = _first(pa.concat_tables([best, piece]), column, distinct, count)
    return best, rows


def _first(rows: pa.Table, column: str, distinct: str, count: int) -> pa.Table:
    ordered = rows.sort_by([(column, "descending"), ("window_start", "ascending"), (distinct, "ascending")])
    _, firsts = np.unique(ordered[distinct].to_numpy(), return_index=True)
    return ordered.take(np.sort(firsts)[:count])


def _print(console: Console, rows: pa.Table, title: str) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    columns = [field.name for field in rows.schema if not field.name.startswith("window_")]
    table.add_column("window (UTC)", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.to_pylist():
        window = f"{row['window_start']:%H:%M:%S} to {row['window_end']:%H:%M:%S}"
        table.add_row(window, *[figures.count(row[name]) for name in columns])
    console.print(table)
