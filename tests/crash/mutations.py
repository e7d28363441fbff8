"""Each safeguard of exactly-once, and how to switch it off: with any of these the crash tests must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """`apply` switches a safeguard off in this process; `points` are the deaths that should show it."""

    what: str
    apply: Callable[[], None]
    points: tuple[str, ...] = ()
    kind: str = "point"


MUTATIONS: dict[str, Mutation] = {}
