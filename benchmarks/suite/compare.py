"""Two sets of results side by side: ratios with their spread, and whether anything became worse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.runner import BenchmarkError
from benchmarks.suite.lines import OURS, Line, read

_MINE = (OURS, "machine")


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long the new one takes: of the medians, and of the extremes of the repetitions."""

    name: str
    old: Line
    new: Line

    @property
    def middle(self) -> float:
        """By time for one event, so that sizes may differ."""
        return _per_event(self.new, self.new.second or 0) / _per_event(self.old, self.old.second or 0)

    @property
    def least(self) -> float:
        return _per_event(self.new, min(self.new.seconds)) / _per_event(self.old, max(self.old.seconds))

    @property
    def most(self) -> float:
        return _per_event(self.new, max(self.new.seconds)) / _per_event(self.old, min(self.old.seconds))

    def verdict(self, threshold: float) -> str:
        """Worse only where the medians say so and the repetitions do not overlap: noise alone does not fail."""
        same_input = self.old.events == self.new.events and self.old.bytes == self.new.bytes
        if same_input and self.old.checksum and self.new.checksum and self.old.checksum != self.new.checksum:
            return "other result"
        if self.middle > threshold and self.least > 1:
            return "worse"
        return "better" if self.middle < 1 / threshold and self.most < 1 else ""


def compare(old: Path, new: Path, threshold: float) -> tuple[str, list[str]]:
    """A table as text, and the names of what is worse: slower than `threshold` times, with another result on the same
    input, or no longer measured. Only our own lines count; peers change with the machine, not with this code."""
    before, after = _lines(old), _lines(new)
    both = [Ratio(" ".join(filter(None, key)), before[key], after[key]) for key in before if key in after]
    timed = [ratio for ratio in both if ratio.old.seconds and ratio.new.seconds and ratio.old.status == "measured"]
    lost = [r.name for r in both if r.old.status == "measured" and r.new.status != "measured" and r.new.engine in _MINE]
    rows = [f"{'new / old':>9}  {'spread':>15}  "]
    worse = []
    for ratio in sorted((r for r in timed if r.name not in lost), key=lambda r: -r.middle):
        verdict = ratio.verdict(threshold)
        rows.append(f"{ratio.middle:9.3f}  {ratio.least:6.3f} to {ratio.most:6.3f}  {ratio.name}  {verdict}".rstrip())
        if verdict in ("worse", "other result") and ratio.new.engine in _MINE:
            worse.append(ratio.name)
    rows += [f"{'':9}  {'':15}  {name}  no longer measured" for name in lost]
    gone = len(before.keys() - after.keys())
    rows.append(f"{len(timed)} in both, {gone} only in the old, {len(after.keys() - before.keys())} only in the new")
    return "\n".join(rows), worse + lost


def _lines(path: Path) -> dict[tuple[str, ...], Line]:
    """By key; of several with the same key the last."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise BenchmarkError(f"{path} holds no results; give a folder with *.jsonl in it, or one such file")
    found = {kept.line.key: kept.line for kept in read(files)}
    if not found:
        raise BenchmarkError(f"{path} holds no result lines")
    return found


def _per_event(line: Line, seconds: float) -> float:
    return max(seconds, 1e-12) / max(line.events, 1)
