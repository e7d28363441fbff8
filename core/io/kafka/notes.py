"""What the ledger topic says of a job: one JSON record for each commit, and the sum of those that are read back.

Kinds of records: ``open`` (a process took the job over: `owner`; `epoch` was the last), ``ahead`` (the input of the
next epoch is fixed) and ``commit`` (everything). Each commit says all that is to know, so only the last one and what
follows it matter. Each has a key of its own, so that a topic that is compacted keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from windrow.codec.kafka_records import Rows
from windrow.errors import StateError
from windrow.progress.ledger import EpochInput

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Span:
    """Where the state of one operator in one shard lies in the changelog.

    Not before `offset` of its partition; `epoch`: of its first part; `parts`: how many there are, the snapshot, if
    there is one, and the deltas after it.
    """

    offset: int
    epoch: int
    parts: int


#: (operator, shard)
Spans = dict[tuple[str, int], Span]


@dataclass(slots=True)
class Note:
    """What is known of a job."""

    epoch: int = 0
    owner: int = 0
    positions: dict[str, dict[int, int]] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None
    planned: EpochInput | None = None
    spans: Spans = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)  # of the records that were read

    def take(self, where: str, rows: Iterable[Rows]) -> None:
        """Learn from these records, in order. Raises `StateError` for one that is none of ours."""
        for some in rows:
            for offset, value in zip(some.offsets.tolist(), some.values().to_pylist(), strict=True):
                try:
                    said = json.loads(value or b"")
                    self._take(said)
                except (ValueError, KeyError, TypeError) as error:
                    raise StateError(f"{where}, offset {offset}: a record that windrow has not written") from error
                if said["windrow"] != FORMAT:
                    raise StateError(
                        f"{where}, offset {offset}: of format {said['windrow']}, this version knows {FORMAT}"
                    )
                if self.epoch < _committed_by(said):
                    raise gone(f"{where}, offset {offset}")

    def _take(self, said: Mapping[str, Any]) -> None:
        self.tokens.add(said["token"])
        self.owner = max(self.owner, said["owner"])
        if said["kind"] == "ahead":
            self.planned = EpochInput.from_json(said["planned"])
        elif said["kind"] == "commit":
            self.epoch, self.progress, self.plan, self.planned = said["epoch"], said["progress"], said["plan"], None
            self.positions = {
                name: {int(part): at for part, at in parts.items()} for name, parts in said["positions"].items()
            }
            self.spans = {(name, shard): Span(*span) for name, shard, *span in said["spans"]}


def _committed_by(said: Mapping[str, Any]) -> int:
    """The last epoch that was committed when a record was written, as far as it says so."""
    return int(said.get("epoch", 0)) - int(said["kind"] == "ahead")


def gone(where: str) -> StateError:
    """Commits that were there are not: to go on without them would do everything again."""
    return StateError(
        f"{where}: the commits before it are gone: the topic was cut by its retention, or by hand. What the job has "
        "done is not known any more; give it another name to start afresh"
    )


def record(kind: str, token: str, owner: int, **said: Any) -> bytes:
    """The value of a record of the ledger topic."""
    return json.dumps({"windrow": FORMAT, "kind": kind, "token": token, "owner": owner, **said}).encode()


def spans_json(spans: Spans) -> list[list[Any]]:
    return [[name, shard, span.offset, span.epoch, span.parts] for (name, shard), span in sorted(spans.items())]
