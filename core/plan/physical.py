"""The physical plan: the logical nodes of a job in order, with what lowering found out about each. No data, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from windrow.plan import nodes


@dataclass(frozen=True, slots=True, eq=False)
class Physical:
    """What the runtime builds a job from.

    `roots` are the sinks, or whatever the plan was asked for; `order` has every node once, inputs first; `needed` the
    columns that someone downstream reads of a node's rows; `consumers` the nodes that read it; `watermarks` for each
    stateful node the watermark nodes whose least value, less `holds_us`, is its time; `ordered` the sources whose rows
    must carry their arrival order; `retracting` the stateful nodes that must take back (weight -1) every row that they
    replace: for the others a new row with the same key is enough.
    """

    roots: tuple[nodes.Node, ...]
    order: tuple[nodes.Node, ...]
    needed: dict[int, tuple[str, ...]]
    consumers: dict[int, tuple[nodes.Node, ...]]
    watermarks: dict[int, tuple[nodes.Watermark, ...]]
    holds_us: dict[int, int]
    ordered: frozenset[int]
    retracting: frozenset[int]

    @property
    def sources(self) -> tuple[nodes.SourceNode, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.SourceNode))

    @property
    def stateful(self) -> tuple[nodes.Stateful, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.Stateful))

    @property
    def sinks(self) -> tuple[nodes.SinkNode, ...]:
        return tuple(node for node in self.order if isinstance(node, nodes.SinkNode))

    def operator_name(self, node: nodes.Stateful) -> str:
        """Unique in the job, and the same every time the same job is built."""
        return f"{self.stateful.index(node)}:{node.spec.name}"

    def operators(self) -> dict[str, str]:
        """Each stateful operator's name with a line that says all that its state depends on."""
        return {self.operator_name(node): self._described(node) for node in self.stateful}

    def _described(self, node: nodes.Stateful) -> str:
        text = node.describe_state(self.needed[id(node)])
        return f"{text} retracting" if id(node) in self.retracting else text

    def fingerprint(self, shards: int) -> dict[str, object]:
        """What saved state belongs to: see `Ledger.open`."""
        operators = self.operators()
        text = "\n".join([f"shards={shards}", *(f"{name}={line}" for name, line in operators.items())])
        text += "\n" + "\n".join(sorted(f"source={source.name}" for source in self.sources))
        return {"fingerprint": hashlib.sha256(text.encode()).hexdigest(), "shards": shards, "operators": operators}
