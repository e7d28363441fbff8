"""Options of a Kafka connection from a file, for commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from windrow.errors import PlanError
from windrow.secret import Secret

OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--options",
        help='A JSON object of connection options, as kafka={...} takes them; a secret is {"env": "NAME"} or '
        '{"file": "path"}.',
        show_default=False,
    ),
]


def read_options(path: Path | None) -> dict[str, Any] | None:
    """What the file says, secrets as `Secret`; None without a file. Raises `PlanError` for what is no such object."""
    if path is None:
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"no options of a connection can be read from {path}: {type(error).__name__}") from None
    if not isinstance(said, Mapping):
        raise PlanError(f"{path} must hold a JSON object of options")
    return {name: _value(path, name, value) for name, value in said.items()}


def _value(path: Path, name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"env"}:
        return Secret.from_env(str(value["env"]))
    if set(value) == {"file"}:
        return Secret.from_file(str(value["file"]))
    raise PlanError(f'{path}: option {name!r} is a value, {{"env": "NAME"}} or {{"file": "path"}}')
