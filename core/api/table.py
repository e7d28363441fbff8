"""Table: rows that update; and what windows give, as a stream or as a Table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from windrow.api.stream import Stream
from windrow.errors import PlanError
from windrow.plan import nodes

if TYPE_CHECKING:
    from windrow.api.windows import Every, Time


class Table(Stream):
    """Rows that update: a row replaces the earlier one with the same `key`.

    `key` is None when its columns have been dropped or computed anew: the rows are then told apart by all they have.
    Rows may go away, too: when they no longer pass a filter, or nothing is left of their group.
    """

    def __init__(self, node: nodes.Node, key: tuple[str, ...] | None) -> None:
        super().__init__(node)
        self.key = key

    def _then(self, node: nodes.Node) -> Stream:
        match node:
            case nodes.Filter():
                return Table(node, self.key)
            case nodes.Project():
                return Table(node, self._key_after(node))
            case nodes.Union():
                return Table(node, None)
        raise PlanError(
            f"{type(node).__name__.lower()}: not on a Table, whose rows are changed and taken back; it can be "
            "filtered, projected, grouped, put together with others, written and collected"
        )

    def _key_after(self, node: nodes.Project) -> tuple[str, ...] | None:
        """What the key's columns are called now; None when one of them is not there any more."""
        names = {expression.column: name for name, expression in reversed(node.columns)}
        kept = [names.get(name) for name in self.key or ()]
        return None if self.key is None or None in kept else tuple(name for name in kept if name is not None)


class Aggregated(Stream):
    """The rows of windows: `final()` (default), `current()` as a Table that updates, `late` for what was too late."""

    _node: nodes.Aggregate

    def final(self) -> Self:
        """Each window once, when the watermark has passed its end (and the allowed lateness, if there is one)."""
        return self

    def current(self, *, every: Every = "epoch", time: Time = "event") -> Table:
        """The windows that changed, as updates of the rows sent before.

        In every epoch; or early each time that event time (``time="processing"``: the clock) has passed a multiple of
        `every`; or with ``every="close"`` not before they end. From its end on a window is sent in every epoch in which
        a late event has changed it.
        """
        from windrow.api.windows import firing

        when = firing(self._node.aggregation.window, every, time)
        aggregation = replace(self._node.aggregation, emit="current", firing=when)
        extra = () if aggregation.window is None else _window_key(aggregation.window.kind)
        return Table(replace(self._node, aggregation=aggregation), (*aggregation.keys, *extra))

    @property
    def late(self) -> Stream:
        """The events that came when all their windows had closed, with the columns they had."""
        return Stream(nodes.Late(self._node.input.schema, False, self._node))


def _window_key(kind: str) -> tuple[str, ...]:
    return ("window_number",) if kind == "count" else ("window_start", "window_end")
