"""The results of the demo, read back from the log as anyone else would read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from windrow.cli import figures

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.cli.demo_data import Place
    from windrow.io.log.log import Log

SHOWN = 8


def show_results(place: Place, console: Console) -> None:
    """The rows with the most bids, and those with the highest price."""
    from windrow.io.log.log import Log

    with Log(place.results, create=False, read_only=True) as log:
        hot, total = top_rows(log, "hot_auctions", "bids")
        _print(console, hot, f"hot_auctions: most bids in 10 s, {SHOWN} of {figures.count(total)} rows")
        best, total = top_rows(log, "highest_bids", "price")
        _print(console, best, f"highest_bids: highest price in 10 s, {SHOWN} of {figures.count(total)} rows")


def top_rows(log: Log, topic: str, column: str, count: int = SHOWN) -> tuple[pa.Table, int]:
    """The `count` rows with the largest values of `column`, largest first, earliest window first where equal; and how
    many rows the topic has. Memory is bounded by one piece of the log."""
    order = [(column, "descending"), ("window_start", "ascending")]
    info = log.topic(topic)
    best, rows = info.schema.empty_table(), 0
    for partition in range(info.partitions):
        next_offset, end = log.start_offset(topic, partition), log.end_offset(topic, partition)
        while next_offset < end:
            pieces = log.read(topic, partition, next_offset)
            piece = pa.Table.from_batches(pieces)
            next_offset += piece.num_rows
            rows += piece.num_rows
            both = pa.concat_tables([best, piece])
            best = both.take(pc.select_k_unstable(both, count, order))
    return best, rows


def _print(console: Console, rows: pa.Table, title: str) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for field in rows.schema:
        table.add_column(field.name, justify="left" if pa.types.is_timestamp(field.type) else "right")
    for row in rows.to_pylist():
        table.add_row(*[_cell(value) for value in row.values()])
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, int):
        return figures.count(value)
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)
