"""Windows and aggregates as data: what is asked for, without any way to compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from windrow.datatypes import DataType
from windrow.units import format_us

WindowKind = Literal["tumbling", "hopping", "session", "cumulate", "count"]


@dataclass(frozen=True, slots=True)
class Window:
    """A rule that puts events into windows ``[start, end)``.

    tumbling: `size_us`; hopping: `size_us` every `slide_us`; cumulate: from each multiple of `size_us`, growing by
    `slide_us`; session: until `gap_us` without an event; count: every `count` events of a key.
    `offset_us` shifts the grid of the time windows; `processing`: of processing time, not event time.
    """

    kind: WindowKind
    size_us: int = 0
    slide_us: int = 0
    gap_us: int = 0
    count: int = 0
    offset_us: int = 0
    processing: bool = False

    def __str__(self) -> str:
        match self.kind:
            case "tumbling":
                text = format_us(self.size_us)
            case "hopping":
                text = f"{format_us(self.size_us)} every {format_us(self.slide_us)}"
            case "cumulate":
                text = f"{format_us(self.slide_us)} up to {format_us(self.size_us)}"
            case "session":
                text = f"gap {format_us(self.gap_us)}"
            case "count":
                text = f"{self.count} events"
        shift = f" offset {format_us(self.offset_us)}" if self.offset_us else ""
        time = " of processing time" if self.processing else ""
        return f"{self.kind}({text}{shift}){time}"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One output column of an aggregation over plain columns (expressions have been evaluated before).

    `function` is one of count, sum, min, max, mean, var, stddev, first, last, count_distinct, collect_list, udaf,
    arg_min, arg_max, corr, covar_samp, covar_pop, collect_set, approx_count_distinct, heavy_hitters, quantile; `column`
    its argument (None: count rows), a struct of two where it has two; `where` a boolean column, rows where it is false
    or null do not count; `options` what the function needs besides (ddof, limit, q, error, the compiled user
    functions).
    """

    name: str
    function: str
    column: str | None
    where: str | None
    type: DataType
    argument_type: DataType | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str, default: Any = None) -> Any:
        return dict(self.options).get(name, default)


#: Aggregates that can take values back, so that they can be taken of the changes of a Table.
UNDOABLE = (
    "count", "sum", "mean", "var", "stddev", "min", "max", "count_distinct", "corr", "covar_samp", "covar_pop",
    "collect_set", "quantile",
)  # fmt: skip
#: The aggregate that such a grouping has besides: how many rows a group has; without any it is gone.
ROW_COUNT = "__rows"

#: Aggregates whose result depends on the order of events.
ORDERED = ("first", "last", "collect_list", "arg_min", "arg_max")


@dataclass(frozen=True, slots=True)
class Firing:
    """When windows that are followed as they grow are sent before their end: not at all (`every_us` None), or when the
    watermark (`processing`: the clock) has passed a multiple of `every_us`. From their end on they are sent in every
    epoch that changes them.
    """

    every_us: int | None
    processing: bool = False

    def __str__(self) -> str:
        if self.every_us is None:
            return "from their end on"
        return f"every {format_us(self.every_us)}{' of processing time' if self.processing else ''}"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A stateful grouping: keys, window, aggregates, and when results come out.

    emit ``final``: a window's rows once, when the watermark passes its end; ``current``: every epoch, the rows that
    changed. Without a window there is no end: emit is always ``current`` and the result is a Table.
    `weighted`: the input is the changes of a Table, and the last aggregate is the `ROW_COUNT`. A window takes rows, and
    is not final, until the watermark has passed its end by `lateness_us`; `firing` (None: in every epoch) says when
    windows that changed are sent.
    """

    name: str
    keys: tuple[str, ...]
    key_types: tuple[DataType, ...]
    window: Window | None
    aggregates: tuple[Aggregate, ...]
    emit: Literal["final", "current"]
    weighted: bool = False
    lateness_us: int = 0
    firing: Firing | None = None

    @property
    def when(self) -> str:
        """When rows come out, for people."""
        late = f", late by up to {format_us(self.lateness_us)}" if self.lateness_us else ""
        return f"{self.emit}{f' {self.firing}' if self.firing is not None else ''}{late}"
