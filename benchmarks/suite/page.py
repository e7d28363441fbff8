"""What the sections of the report are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.suite import steps
from benchmarks.suite.lines import Kept, Line


@dataclass(slots=True)
class Page:
    """What the sections are made of, and the plots that they make."""

    kept: list[Kept]
    others: dict[str, list[Kept]]  # results of other machines, by the name of their folder
    notes: dict[str, dict[str, Any]]  # what is known about each peer
    folder: str = "benchmarks"  # of the plots, beside the page
    plots: dict[str, str] = field(default_factory=dict)  # file name -> SVG

    @property
    def lines(self) -> list[Line]:
        return [each.line for each in self.kept]

    def of_part(self, *parts: str) -> list[Line]:
        """Lines of the steps that belong to these parts."""
        named = {step.name for step in steps.registry.values() if step.part in parts}
        return [each.line for each in self.kept if each.step in named]

    def plot(self, name: str, svg: str, said: str) -> str:
        """Keep a plot; the Markdown that shows it."""
        self.plots[f"{name}.svg"] = svg
        return f"![{said}]({self.folder}/{name}.svg)\n"
