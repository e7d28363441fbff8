"""No kernel without a plain-Python oracle of the same name, a test against it, and a benchmark (law)."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from benchmarks.runner import load_all
from windrow import kernels
from windrow.kernels._compile import registry

ROOT = Path(__file__).parents[2]


def kernel_names() -> list[str]:
    """All registered kernels as module.function."""
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"windrow.kernels.{module.name}")
    return sorted(registry)


def oracle_file(kernel: str) -> Path:
    return ROOT / "tests" / "oracles" / f"{kernel.partition('.')[0]}.py"


@pytest.mark.parametrize("kernel", kernel_names())
def test_kernel_has_an_oracle_of_the_same_name(kernel: str) -> None:
    path = oracle_file(kernel)
    assert path.exists(), f"no {path.relative_to(ROOT)}"
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert kernel.partition(".")[2] in functions


@pytest.mark.parametrize("kernel", kernel_names())
def test_kernel_is_tested_against_its_oracle(kernel: str) -> None:
    module, _, function = kernel.partition(".")
    path = ROOT / "tests" / "kernels" / f"test_{module}.py"
    assert path.exists(), f"no {path.relative_to(ROOT)}"
    assert re.search(rf"\b{function}\b", path.read_text()), f"{path.name} does not mention it"


@pytest.mark.parametrize("kernel", kernel_names())
def test_kernel_is_benchmarked(kernel: str) -> None:
    assert kernel in {name for benchmark in load_all().values() for name in benchmark.kernels}


def test_benchmarks_and_oracles_name_no_kernel_that_is_gone() -> None:
    named = {name for benchmark in load_all().values() for name in benchmark.kernels}
    assert named <= set(kernel_names())


@pytest.mark.parametrize("path", sorted({oracle_file(kernel) for kernel in kernel_names()}), ids=lambda path: path.stem)
def test_oracle_is_plain_python(path: Path) -> None:
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not imported & {"numpy", "numba", "pyarrow", "polars"}, "ints and lists only"
