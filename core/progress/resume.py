"""Whether saved state fits the job that wants to resume from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from windrow.errors import StateError


def check_plan(job: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `StateError` that lists the operators of both when the fingerprints differ."""
    if saved.get("fingerprint") == wanted.get("fingerprint"):
        return
    before, now = _described(saved), _described(wanted)
    lines = [f"the state of job {job!r} was saved by another plan:"]
    for name in sorted({*before, *now}):
        if before.get(name) == now.get(name):
            lines.append(f"  same     {name}: {now[name]}")
        elif name not in now:
            lines.append(f"  gone     {name}: {before[name]}")
        elif name not in before:
            lines.append(f"  new      {name}: {now[name]}")
        else:
            lines.append(f"  saved    {name}: {before[name]}")
            lines.append(f"  now      {name}: {now[name]}")
    lines.append("Give the job another name to start afresh, or run the plan that saved it.")
    raise StateError("\n".join(lines))


def _described(plan: Mapping[str, Any]) -> dict[str, str]:
    """Every part of a plan document but its fingerprint, flat: ``operators.3`` or ``operators.window-1`` -> text."""
    flat: dict[str, str] = {}

    def walk(path: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{path}.{key}" if path else str(key), inner)
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            for number, inner in enumerate(value):
                walk(f"{path}.{number}", inner)
        else:
            flat[path] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)

    walk("", {key: value for key, value in plan.items() if key != "fingerprint"})
    return flat
