"""From an aggregation as data to the operator that runs it."""

from __future__ import annotations

from windrow.errors import PlanError
from windrow.operators.base import OperatorContext, StatefulOperator
from windrow.operators.count_aggregate import CountAggregate
from windrow.operators.dedup import DedupOperator
from windrow.operators.join import JoinOperator
from windrow.operators.over import OverOperator
from windrow.operators.rank import RankOperator
from windrow.operators.session_aggregate import SessionAggregate
from windrow.operators.table_aggregate import TableAggregate
from windrow.operators.window_aggregate import WindowAggregate
from windrow.plan.dedup import Dedup
from windrow.plan.join import Join
from windrow.plan.over import Over
from windrow.plan.rank import Rank
from windrow.plan.window import Aggregation
from windrow.state.accumulators.build import make_accumulators


def build_operator(spec: Aggregation | Dedup | Join | Over | Rank, context: OperatorContext) -> StatefulOperator:
    """The operator that computes `spec`; raises `PlanError` for what no operator can do."""
    match spec:
        case Aggregation():
            return _aggregate(spec, context)
        case Dedup():
            return DedupOperator(spec, context)
        case Over():
            return OverOperator(spec, context)
        case Join():
            return JoinOperator(spec, context)
        case Rank():
            return RankOperator(spec, context)


def _aggregate(aggregation: Aggregation, context: OperatorContext) -> StatefulOperator:
    make_accumulators(aggregation)  # refuses unknown aggregates and types
    if not aggregation.keys and not aggregation.aggregates:
        raise PlanError(f"{aggregation.name}: neither keys nor aggregates: there is nothing to compute")
    window = aggregation.window
    if window is None:
        return TableAggregate(aggregation, context)
    match window.kind:
        case "session":
            return SessionAggregate(aggregation, window, context.retract)
        case "count":
            return CountAggregate(aggregation, window, context.retract)
        case "tumbling" | "hopping" | "cumulate":
            return WindowAggregate(aggregation, window, context.retract)
    raise PlanError(f"{aggregation.name}: no operator for {window}")
