"""The documentation is true (golden): its code runs, prints what it says, and what it names is there."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import windrow as wr

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ (?:.*&& )?(windrow|make) +(\w[\w-]*)", re.M)
PATH = re.compile(r"`((?:core|kernels|tests|benchmarks|examples|docs)/[\w./*{},-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return BLOCK.findall(page.read_text())


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_quick_start_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed = ""
    for language, text in blocks(ROOT / "docs" / "quickstart.md"):
        if language == "python":
            printed = run(text, names)
        elif language == "text":
            assert printed == text


def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    event = {"auction": 1, "price": 2_000, "date_time": "2024-05-01T12:00:00Z"}
    with wr.Log("data") as log:
        log.create_topic("bids", partitions=1)
        log.append("bids", [json.dumps(event).encode()])
    (example,) = [text for language, text in blocks(ROOT / "README.md") if language == "python"]
    assert "job.run()" in example
    names: dict[str, Any] = {}
    plan = run(example.replace("job.run()", 'job.run(until="caught up")'), names)
    names["job"].close()
    assert "hot_auctions" in plan and "exactly-once" in plan


def run(code: str, names: dict[str, Any]) -> str:
    """Execute a block in the namespace of those before it; what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "<block>", "exec"), names)
    return output.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    missing += [path for path in PATH.findall(text) if not any(list(ROOT.glob(each)) for each in expanded(path))]
    assert not missing


def expanded(path: str) -> Iterator[str]:
    """``a/{b,c}.py`` as a/b.py and a/c.py."""
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", path)
    if match is None:
        yield path.rstrip("/")
        return
    for middle in match[2].split(","):
        yield match[1] + middle + match[3]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_exist(page: Path) -> None:
    from windrow.cli.main import app

    commands = {info.callback.__name__ for info in app.registered_commands if info.callback is not None}
    commands |= {group.name for group in app.registered_groups if group.name}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for tool, name in COMMAND.findall(page.read_text()):
        assert name in (commands if tool == "windrow" else targets), f"{tool} {name}"


@pytest.mark.parametrize(
    "name", ["aggregates.md", "auction_app.md", "joins.md", "payment_app.md", "tables.md", "windows.md"]
)
def test_page_runs_and_prints_what_it_says(name: str) -> None:
    names: dict[str, Any] = {}
    printed = [run(text, names) for language, text in blocks(ROOT / "docs" / name) if language == "python"]
    said = [text for language, text in blocks(ROOT / "docs" / name) if language == "text"]
    assert [text for text in printed if text] == said
