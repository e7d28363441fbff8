"""Pieces of a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are text and whose others are figures; empty without rows."""
    found = [list(map(_cell, row)) for row in rows]
    if not found:
        return ""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(map(_cell, head)), rule, *found]) + "\n"


def figure(value: float | None, unit: str = "") -> str:
    """Three digits that matter: 0.0123, 1.23, 12.3, 123, 1,230."""
    if value is None:
        return ""
    size = abs(value)
    text = f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def millions(value: float | None) -> str:
    """A rate in millions a second."""
    return figure(value / 1e6) if value else ""


def times(value: float | None) -> str:
    """A ratio."""
    return figure(value) + " x" if value else ""


def paragraph(text: str) -> str:
    """Text as it is written in code, on one line, with an empty line after it."""
    return " ".join(text.split()) + "\n\n"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
