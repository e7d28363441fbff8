"""Text and JSON lines as commands print them: what comes from outside cannot harm a terminal, nor fill it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

_TEXT_CHARACTERS = 200


def lines(objects: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    for one in objects:
        typer.echo(json.dumps(one, ensure_ascii=False))


def table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> None:
    """Columns as wide as they need to be; plain text, so that it can be cut and searched."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        cells = [
            text.rjust(width) if number in right else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def plain(value: Any) -> Any:
    """As JSON can say it; bytes that are no text as hexadecimal digits under the key ``hex``."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def short(value: Any) -> str:
    """On one line, cut."""
    told = plain(value)
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}..."


def escaped(value: bytes | str, limit: int = _TEXT_CHARACTERS) -> str:
    r"""At most `limit` bytes or characters of it, on one line: what cannot be printed as ``\n``, ``\x1b``, ``\udcff``.

    What is left out is counted.
    """
    cut = value[:limit]
    text = cut.decode("utf-8", "backslashreplace") if isinstance(cut, bytes) else cut
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    left = len(value) - len(cut)
    return shown if not left else f"{shown}... ({left:,} more {'bytes' if isinstance(value, bytes) else 'characters'})"
