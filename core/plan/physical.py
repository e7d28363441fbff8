"""The physical plan: the logical nodes of a job in order, with what lowering found out about each. No data, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from windrow.plan import nodes


@dataclass(frozen=True, slots=True, eq=False)
class Physical:
    """What the runtime builds a job from.

    `order` has every node once, inputs first; `needed` the columns that someone downstream reads of a node's rows;
    `consumers` the nodes that read it; `watermarks` for each aggregate the watermark nodes whose least value closes its
    windows; `ordered` the sources whose rows must carry their arrival order.
    """

    order: tuple[nodes.Node, ...]
    needed: dict[int, tuple[str, ...]]
    consumers: dict[int, tuple[nodes.Node, ...]]
    watermarks: dict[int, tuple[nodes.Watermark, ...]]
    ordered: frozenset[int]

    @property
    def sources(self) -> tuple[nodes.SourceNode, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.SourceNode))

    @property
    def aggregates(self) -> tuple[nodes.Aggregate, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.Aggregate))

    @property
    def sinks(self) -> tuple[nodes.SinkNode, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.SinkNode))

    def operator_name(self, node: nodes.Aggregate) -> str:
        """Unique in the job, and the same every time the same job is built."""
        return f"{self.aggregates.index(node)}:{node.aggregation.name}"

    def operators(self) -> dict[str, str]:
        """Each stateful operator's name with a line that says all that its state depends on."""
        return {self.operator_name(node): describe_state(node) for node in self.aggregates}

    def fingerprint(self, shards: int) -> dict[str, object]:
        """What saved state belongs to: see `Ledger.open`."""
        operators = self.operators()
        text = "\n".join([f"shards={shards}", *(f"{name}={line}" for name, line in operators.items())])
        text += "\n" + "\n".join(sorted(f"source={source.name}" for source in self.sources))
        return {"fingerprint": hashlib.sha256(text.encode()).hexdigest(), "shards": shards, "operators": operators}


def describe_state(node: nodes.Aggregate) -> str:
    """Keys, window and aggregates of an operator with their types: state of another description does not fit."""
    aggregation = node.aggregation
    keys = ", ".join(f"{key}: {kind}" for key, kind in zip(aggregation.keys, aggregation.key_types, strict=True))
    arguments = dict(node.arguments)
    parts = []
    for a in aggregation.aggregates:
        argument = arguments[a.column].text if a.column in arguments else a.column or ""
        where = f" where {arguments[a.where].text if a.where in arguments else a.where}" if a.where else ""
        plain = [f"{name}={value}" for name, value in a.options if isinstance(value, (int, str, float))]
        parts.append(f"{a.name}={a.function}({', '.join([argument, *plain])}){where}: {a.argument_type}")
    return f"by [{keys}] {aggregation.window or 'all time'} emit {aggregation.emit} [{'; '.join(parts)}]"
