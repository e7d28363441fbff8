"""Every kernel has its oracle, its property test and its benchmark."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from benchmarks import runner
from windrow import kernels
from windrow.kernels import _compile

TESTS = Path(__file__).parent


def registered() -> list[str]:
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"windrow.kernels.{module.name}")
    return sorted(_compile.registry)


def test_every_kernel_has_an_oracle_of_its_name() -> None:
    """law: tests/oracles/<module>.py has a function of the kernel's name."""
    missing = []
    for name in registered():
        module, function = name.split(".")
        path = TESTS.parent / "oracles" / f"{module}.py"
        if not path.exists() or not hasattr(importlib.import_module(f"tests.oracles.{module}"), function):
            missing.append(name)
    assert not missing, f"kernels without a plain-Python oracle in tests/oracles/: {', '.join(missing)}"


def test_every_kernel_has_a_property_test() -> None:
    """law: a tests/kernels/test_<module>*.py with Hypothesis uses both the kernel and its oracle by name."""
    missing = []
    for name in registered():
        module, function = name.split(".")
        texts = [path.read_text() for path in TESTS.glob(f"test_{module}*.py")]
        if not any("hypothesis" in text and re.search(rf"\b{function}\b", text) for text in texts):
            missing.append(name)
    assert not missing, f"kernels without a property test in tests/kernels/: {', '.join(missing)}"


def test_every_kernel_has_a_benchmark() -> None:
    """law: some benchmark names it in `kernels=`, and none names a kernel that there is not."""
    measured = {name for each in runner.load_all().values() for name in each.kernels}
    there = set(registered())
    assert not there - measured, f"kernels without a benchmark: {', '.join(sorted(there - measured))}"
    assert not measured - there, f"benchmarks name kernels that there are not: {', '.join(sorted(measured - there))}"
