"""join and its siblings: from names and expressions to a join that the plan can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from windrow import expressions
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.arrow_types import from_arrow_type, to_arrow_type
from windrow.datatypes import DataType, Field, Schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.join import LEFT, RIGHT, How, Join, JoinColumn, JoinSide, Strategy
from windrow.plan.nodes_join import JoinNode
from windrow.plan.window import Window
from windrow.units import Duration, duration_us

if TYPE_CHECKING:
    from windrow.plan.expr import Expression

Names = str | Sequence[str]
_HOWS = ("inner", "left", "right", "full", "semi", "anti")


@dataclass(frozen=True, slots=True)
class Match:
    """Which rows of two sides belong together, as the user said it: the arguments that all joins have."""

    on: Names | None
    left_on: Names | None
    right_on: Names | None
    how: How
    suffix: str
    where: pl.Expr | None = None


def join(left: Stream, right: Stream, match: Match, ttl: Duration | None) -> Stream:
    """See `Stream.join`."""
    maker = JoinMaker("join", left, right, match)
    changes = left._node.updating or right._node.updating
    if ttl == "unbounded" or (ttl is None and changes):
        return maker.make()
    if ttl is None:
        raise PlanError(
            "join: rows of both streams would be kept for ever; say ttl='1h' (rows match when their event times are at "
            "most that far apart; both streams need .watermark()), or ttl='unbounded', or use join_interval or "
            "join_window"
        )
    apart = duration_us(ttl, "join: ttl")
    maker.need_time(f"ttl={ttl!r}")
    return maker.make(lower_us=-apart, upper_us=apart)


def join_interval(left: Stream, right: Stream, match: Match, lower: Duration, upper: Duration) -> Stream:
    """See `Stream.join_interval`."""
    maker = JoinMaker("join_interval", left, right, match)
    maker.need_time("an interval")
    least, most = signed_us(lower, "join_interval: lower"), signed_us(upper, "join_interval: upper")
    if least > most:
        raise PlanError(f"join_interval: lower ({lower}) is more than upper ({upper})")
    return maker.make(lower_us=least, upper_us=most)


def join_window(left: Stream, right: Stream, match: Match, window: Window | None) -> Stream:
    """See `Stream.join_window`."""
    maker = JoinMaker("join_window", left, right, match)
    if not isinstance(window, Window) or window.kind not in ("tumbling", "hopping"):
        raise PlanError(f"join_window: the window must be wr.tumbling(...) or wr.hopping(...), got {window}")
    maker.need_time("a window")
    return maker.make(lower_us=0, upper_us=0, window=window)


def join_asof(left: Stream, right: Stream, match: Match, strategy: Strategy, tolerance: Duration | None) -> Stream:
    """See `Stream.join_asof`."""
    if strategy not in ("backward", "forward", "nearest"):
        raise PlanError(f"join_asof: strategy must be backward, forward or nearest, got {strategy!r}")
    if match.how not in ("left", "inner"):
        raise PlanError(f"join_asof: how must be left or inner, got {match.how!r}")
    if strategy != "backward" and tolerance is None:
        raise PlanError(
            f"join_asof: with strategy={strategy!r} a row would wait for ever for one that may come; say how far away "
            "one may be, for example tolerance='10s'"
        )
    maker = JoinMaker("join_asof", left, right, match)
    maker.need_time("nearness in time")
    within = None if tolerance is None else duration_us(tolerance, "join_asof: tolerance")
    return maker.make(0, 0, strategy=strategy, tolerance_us=within)


def signed_us(value: Duration, what: str) -> int:
    """Microseconds of a duration that may be negative: ``"-5s"``, ``timedelta(seconds=-5)``, -5000."""
    if isinstance(value, str):
        text = value.strip()
        return -duration_us(text[1:], what) if text.startswith("-") else duration_us(text, what)
    negative = value < timedelta(0) if isinstance(value, timedelta) else value < 0
    return -duration_us(-value, what) if negative else duration_us(value, what)


def schema_of(join: Join) -> Schema:
    """The columns of the result."""
    return Schema(tuple(Field(column.name, column.type) for column in join.columns))


class Joined(Stream):
    """Rows of two streams; `late` and `late_other` are those of each that came too late for a join with a bound."""

    _node: JoinNode

    @property
    def late(self) -> Stream:
        """The rows of this stream that were older than the watermark, with the columns they had."""
        return Stream(nodes.Late(self._node.left.schema, False, self._node, LEFT))

    @property
    def late_other(self) -> Stream:
        """The rows of the other stream that were older than the watermark."""
        return Stream(nodes.Late(self._node.right.schema, False, self._node, RIGHT))


class JoinMaker:
    """Checks the two sides against each other, and makes the join."""

    def __init__(self, step: str, left: Stream, right: Stream, match: Match) -> None:
        if match.how not in _HOWS:
            raise PlanError(f"{step}: how must be one of {', '.join(_HOWS)}, got {match.how!r}")
        if not isinstance(right, Stream):
            raise PlanError(f"{step}: the other side must be a Stream or a Table, got {type(right).__name__}")
        self.step, self.left, self.right, self.how, self.suffix = step, left, right, match.how, match.suffix
        self.same_names = match.on is not None
        self.keys = _keys(step, match.on, match.left_on, match.right_on)
        for stream, names in zip((left, right), self.keys, strict=True):
            stream._require(step, names)
        self.where = match.where

    def need_time(self, what: str) -> None:
        for name, stream in (("left", self.left), ("right", self.right)):
            if stream._node.updating:
                raise PlanError(f"{self.step}: the {name} side is a Table, whose rows change; {what} needs streams")
            if not stream._node.timed:
                raise PlanError(
                    f"{self.step}: {what} needs event time on both sides; call .watermark(column, delay=...) on the "
                    f"{name} one"
                )

    def make(self, lower_us: int | None = None, upper_us: int | None = None, **options: Any) -> Stream:
        """The joined stream, or Table."""
        spec = replace(self.spec(), lower_us=lower_us, upper_us=upper_us, **options)
        node = JoinNode(schema_of(spec), spec.timed, self.left._node, self.right._node, spec)
        return Table(node, spec.key) if spec.updating else Joined(node)

    def spec(self) -> Join:
        """The join as data, without a bound."""
        sides = (self._side(self.left, LEFT), self._side(self.right, RIGHT))
        types = tuple(self._common(*pair) for pair in zip(*self.keys, strict=True))
        columns = self._columns()
        where, reads = self._where()
        timed = self.left._node.timed and self.right._node.timed
        key = self._key(columns)
        return Join("join", self.how, sides, types, columns, where, reads, key=key, timed=timed)

    def _side(self, stream: Stream, side: int) -> JoinSide:
        columns = tuple((field.name, field.type) for field in stream.schema)
        return JoinSide(self.keys[side], columns, stream._node.updating)

    def _common(self, left: str, right: str) -> DataType:
        ours, theirs = self.left.schema[left].type, self.right.schema[right].type
        common = common_type(to_arrow_type(ours), to_arrow_type(theirs))
        if common is None:
            raise PlanError(
                f"{self.step}: {left!r} is {ours} and {right!r} is {theirs}, which cannot be compared; cast one of them"
            )
        return from_arrow_type(common)

    def _columns(self) -> tuple[JoinColumn, ...]:
        """As polars has them: keys once, and of the side whose rows all come out; clashing names get the suffix."""
        left, right = [(side, [f.name for f in s.schema]) for side, s in enumerate((self.left, self.right))]
        if self.how in ("semi", "anti"):
            return tuple(self._column(LEFT, name, name) for name in left[1])
        if self.how == "right":
            names = [name for name in left[1] if name not in self.keys[LEFT]]
            return self._both(names, right[1])
        names = [
            name for name in right[1] if name not in self.keys[RIGHT] or (self.how == "full" and not self.same_names)
        ]
        return self._both(left[1], names)

    def _both(self, left: list[str], right: list[str]) -> tuple[JoinColumn, ...]:
        made = [self._column(LEFT, name, name) for name in left]
        taken = set(left)
        for name in right:
            made.append(self._column(RIGHT, name, self._free(name, taken)))
        return tuple(made)

    def _free(self, name: str, taken: set[str]) -> str:
        free = name if name not in taken else name + self.suffix
        if free in taken:
            raise PlanError(f"{self.step}: both sides have {name!r}, and {free!r} is taken too; choose another suffix")
        taken.add(free)
        return free

    def _column(self, side: int, source: str, name: str) -> JoinColumn:
        type_ = (self.left, self.right)[side].schema[source].type
        other = None
        if self.how == "full" and self.same_names and source in self.keys[LEFT]:
            at = self.keys[LEFT].index(source)
            other, type_ = self.keys[RIGHT][at], self._common(source, self.keys[RIGHT][at])
        return JoinColumn(name, side, source, type_, other)

    def _where(self) -> tuple[Expression | None, tuple[JoinColumn, ...]]:
        """The condition, and what it reads: left columns by their names, right ones too, with the suffix if both have
        them (keys as well)."""
        if self.where is None:
            return None, ()
        taken = set(self.left.columns)
        every = [JoinColumn(f.name, LEFT, f.name, f.type) for f in self.left.schema]
        for field in self.right.schema:
            every.append(JoinColumn(self._free(field.name, taken), RIGHT, field.name, field.type))
        schema = Schema(tuple(Field(column.name, column.type) for column in every))
        parsed = expressions.parse_predicate(self.where, schema, f"{self.step}: where")
        reads = schema.names if parsed.reads is None else parsed.reads
        return parsed, tuple(column for column in every if column.name in reads)

    def _key(self, columns: Sequence[JoinColumn]) -> tuple[str, ...] | None:
        """Columns that identify a row of the result, if both sides are Tables with keys."""
        left = self.left.key if isinstance(self.left, Table) else None
        if self.how in ("semi", "anti"):
            return left
        right = self.right.key if isinstance(self.right, Table) else None
        if left is None or right is None or self.how == "full":
            return None
        names = {(column.side, column.source): column.name for column in columns}
        for ours, theirs in zip(*self.keys, strict=True):  # a key that came out once stands for both sides
            names.setdefault((LEFT, ours), names.get((RIGHT, theirs), ""))
            names.setdefault((RIGHT, theirs), names.get((LEFT, ours), ""))
        if set(right) <= set(self.keys[RIGHT]) and self.how != "right":  # at most one right row for each left row
            wanted = [(LEFT, name) for name in left]
        elif set(left) <= set(self.keys[LEFT]) and self.how != "left":
            wanted = [(RIGHT, name) for name in right]
        else:
            wanted = [*((LEFT, name) for name in left), *((RIGHT, name) for name in right)]
        key = tuple(dict.fromkeys(names.get(each, "") for each in wanted))
        return key if all(key) else None  # with a column that does not come out nothing is identified


def _keys(
    step: str, on: Names | None, left_on: Names | None, right_on: Names | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if on is not None and (left_on is not None or right_on is not None):
        raise PlanError(f"{step}: give either on, or left_on and right_on")
    left, right = _names(step, on if on is not None else left_on), _names(step, on if on is not None else right_on)
    if not left or len(left) != len(right):
        raise PlanError(f"{step}: give the columns to compare: on='id', or as many in left_on as in right_on")
    return left, right


def _names(step: str, names: Names | None) -> tuple[str, ...]:
    if names is None:
        return ()
    made = (names,) if isinstance(names, str) else tuple(names)
    wrong = [name for name in made if not isinstance(name, str)]
    if wrong:
        raise PlanError(f"{step}: keys are column names, got {wrong[0]}; compute it before, with .with_columns(...)")
    return made


def common_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The type in which values of both can be compared without loss; None when there is none."""
    if left == right:
        return left
    is_ = pa.types
    if is_.is_integer(left) and is_.is_integer(right):
        widest = max(left.bit_width, right.bit_width)
        if is_.is_unsigned_integer(left) == is_.is_unsigned_integer(right):
            return left if left.bit_width == widest else right
        unsigned = left if is_.is_unsigned_integer(left) else right
        return None if unsigned.bit_width == 64 else pa.int64()
    if is_.is_floating(left) and is_.is_floating(right):
        return pa.float64()
    for whole in (
        (is_.is_string, is_.is_large_string, is_.is_string_view),
        (is_.is_binary, is_.is_large_binary, is_.is_binary_view),
    ):
        if any(test(left) for test in whole) and any(test(right) for test in whole):
            return pa.large_string() if whole[0] is is_.is_string else pa.large_binary()
    if is_.is_decimal128(left) and is_.is_decimal128(right):
        scale = max(left.scale, right.scale)
        digits = max(left.precision - left.scale, right.precision - right.scale) + scale
        return pa.decimal128(digits, scale) if digits <= 38 else None
    if is_.is_timestamp(left) and is_.is_timestamp(right) and (left.tz is None) == (right.tz is None):
        units = ("s", "ms", "us", "ns")
        return pa.timestamp(max(left.unit, right.unit, key=units.index), left.tz)
    if is_.is_date(left) and is_.is_date(right):
        return pa.date32()
    return None
