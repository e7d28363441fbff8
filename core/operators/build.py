"""From an aggregation as data to the operator that runs it."""

from __future__ import annotations

from windrow.errors import PlanError
from windrow.operators.base import StatefulOperator
from windrow.operators.window_aggregate import WindowAggregate
from windrow.plan.window import Aggregation


def build_operator(aggregation: Aggregation, shards: int) -> StatefulOperator:
    """The operator for a grouping; raises `PlanError` for what no operator can do."""
    window = aggregation.window
    if window is not None and window.kind in ("tumbling", "hopping", "cumulate"):
        return WindowAggregate(aggregation, window)
    raise PlanError(f"{aggregation.name}: no operator for {window}")
