"""Warming up reaches every kernel there is, and says how far it is (law)."""

from __future__ import annotations

from windrow.kernels._compile import registry
from windrow.runtime.warmup import warm_up


def test_every_kernel_is_compiled_and_counted() -> None:
    calls: list[tuple[str, int, int]] = []
    count = warm_up(lambda *call: calls.append(call))
    assert count == len(registry) > 0
    assert [done for _, done, _ in calls] == list(range(count + 1))
    assert {total for _, _, total in calls} == {count}
    assert [name for name, _, _ in calls] == [*sorted(registry), ""]
    assert all(kernel._compiled is not None for kernel in registry.values())
