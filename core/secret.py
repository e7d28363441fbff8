"""A text that must not be seen: passwords and the like, from the environment, from a file, or given."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windrow.errors import PlanError

#: What is shown of a secret, however it is asked for.
HIDDEN = "***"


class Secret(str):
    """Shows itself as ``***``: in ``repr``, ``str``, formatting, JSON and pickles. `reveal` gives the text.

    It is a `str` whose characters are three stars, so that whatever takes it for a text gets those, and no secret.
    Two secrets are equal only when they are the same object. `Secret.from_env` and `Secret.from_file` are read again
    each time, so that a secret can be changed while a job runs; pickled they carry the name, and no text.
    """

    __slots__ = ("_origin", "_read")
    _read: Callable[[], str]
    _origin: tuple[str, str] | None

    def __new__(cls, text: str) -> Secret:
        """A secret that was given as text; better keep it out of programs. Raises `PlanError` when it is empty."""
        if isinstance(text, Secret):
            return text
        if not isinstance(text, str) or not text:
            raise PlanError("a Secret is a text that is not empty")
        plain = str(text)
        return cls._made(lambda: plain, None)

    @classmethod
    def from_env(cls, name: str) -> Secret:
        """The value of an environment variable. Raises `PlanError` when it is not set, or empty."""

        def read() -> str:
            text = os.environ.get(name, "")
            if not text:
                raise PlanError(f"the environment variable {name} is not set, or empty: a secret was expected there")
            return text

        return cls._checked(read, ("env", name))

    @classmethod
    def from_file(cls, path: str | Path) -> Secret:
        """The text of a file without the line break at its end. Raises `PlanError` when there is none."""
        where = Path(path)

        def read() -> str:
            try:
                text = where.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise PlanError(f"no secret can be read from the file {where}: {reason}") from None
            if not text:
                raise PlanError(f"the file {where} is empty: a secret was expected there")
            return text

        return cls._checked(read, ("file", str(where)))

    def reveal(self) -> str:
        """The text itself. Raises `PlanError` when it is not there any more."""
        return self._read()

    @classmethod
    def _made(cls, read: Callable[[], str], origin: tuple[str, str] | None) -> Secret:
        made = str.__new__(cls, HIDDEN)
        made._read, made._origin = read, origin
        return made

    @classmethod
    def _checked(cls, read: Callable[[], str], origin: tuple[str, str]) -> Secret:
        read()
        return cls._made(read, origin)

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _unpickled, (self._origin,)


def _unpickled(origin: tuple[str, str] | None) -> Secret:
    if origin is None:
        return Secret._made(_left_behind, None)
    kind, name = origin
    return Secret.from_env(name) if kind == "env" else Secret.from_file(name)


def _left_behind() -> str:
    raise PlanError("a Secret that was given as text does not travel: use Secret.from_env or Secret.from_file")
