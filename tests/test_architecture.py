"""Style as a test (law): imports, sizes, banned calls, docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted([*(ROOT / "core").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70  # in core; a kernel's loop may be longer
KINDS = ("oracle", "law", "differential", "golden", "crash")
# Each with what to do instead.
BANNED_CALLS = {
    "print": "write to the console that the command was given, or return the text",
    "eval": "parse it",
    "exec": "import it",
    "breakpoint": "take it out",
}
BANNED_IMPORTS = {
    "pickle": "state is Arrow IPC with a version, a schema and a checksum",
    "cPickle": "as pickle",
    "dill": "as pickle",
    "cloudpickle": "as pickle",
    "shelve": "as pickle",
    "marshal": "as pickle",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


def functions(node: ast.AST) -> Iterator[Function]:
    return (each for each in ast.walk(node) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=name)
def test_files_are_not_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", [path for path in CODE if path.is_relative_to(ROOT / "core")], ids=name)
def test_functions_are_not_too_long(path: Path) -> None:
    too_long = {
        f"{each.name} (line {each.lineno})": length
        for each in functions(tree(path))
        if (length := code_lines(each)) > MAX_FUNCTION_LINES
    }
    assert not too_long, f"over {MAX_FUNCTION_LINES} lines: {too_long}"


def code_lines(function: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    length = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        length -= (text.end_lineno or 0) - text.lineno + 1
    return length


@pytest.mark.parametrize("path", CODE, ids=name)
def test_banned_calls_and_imports_are_not_used(path: Path) -> None:
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
            found.append(f"line {node.lineno}: {node.func.id}(): {BANNED_CALLS[node.func.id]}")
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in BANNED_IMPORTS:
                found.append(f"line {node.lineno}: {module}: {BANNED_IMPORTS[module.partition('.')[0]]}")
    assert not found, found


@pytest.mark.parametrize("path", CODE, ids=name)
def test_public_names_have_docstrings(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module) is not None or not module.body, "a module says what it is for"
    bare = []
    for node in module.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not is_short(node):
            bare.append(f"line {node.lineno}: {node.name}")
    assert not bare, f"without a docstring: {bare}"


def is_short(node: Function | ast.ClassDef) -> bool:
    """A function of one statement whose signature says it all; a sentence above it would only repeat its name."""
    return isinstance(node, Function) and len(node.body) == 1 and node.returns is not None


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_test_modules_say_which_kinds_they_are(path: Path) -> None:
    """In the module's docstring for all of its tests, or in those of the tests."""
    module = tree(path)
    tests = [node for node in functions(module) if node.name.startswith("test_")]
    texts = [ast.get_docstring(node) or "" for node in (module, *tests)]
    assert any(kind in text.lower() for text in texts for kind in KINDS), f"no word of {', '.join(KINDS)}"


def test_no_test_is_skipped_in_its_source() -> None:
    skips = [
        f"{name(path)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail", "importorskip")
    ]
    assert not skips
