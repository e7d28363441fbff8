"""How progress is shown: numbers for people (oracle: written by hand), a panel, lines, JSON (golden)."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from windrow.cli import figures
from windrow.cli.bars import bar
from windrow.cli.display import JsonLines, Lines, Live, Quiet, choose, line, panel
from windrow.runtime.metrics import EpochReport, Progress


def progress(epoch: int = 3, **other: int) -> Progress:
    made = Progress()
    values = {"late_rows": 0, "rejected_rows": 0, **other}
    for number in range(1, epoch + 1):
        report = EpochReport(
            epoch=number, rows=1_000_000, bytes=250_000_000, rows_out=1_234, seconds=0.5, commit_seconds=0.0042,
            watermark_us=1_700_000_000_000_000, lag=2_000_000, state_bytes=12_300_000, **values,
        )  # fmt: skip
        made.take(report, number * 0.5)
    return made


def shown(thing: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(thing)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1_000, "1.00 k"),
        (3_420_000, "3.42 M"),
        (81_200_000, "81.2 M"),
        (5e11, "500 G"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert figures.short(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (812, "812 B"), (1_500, "1.50 kB"), (812_000_000, "812 MB")])
def test_sizes(value: float, text: str) -> None:
    assert figures.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1:01"), (3_600, "1:00:00"), (3_723.9, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_line_has_everything_a_person_asks_for() -> None:
    assert line(progress()) == (
        "epoch 3, 3,000,000 events, 2.00 M events/s, 750 MB, watermark 2023-11-14 22:13:20.000Z, lag 2,000,000, "
        "3,702 results, state 12.3 MB, commit 4.2 ms, 1.5 s"
    )
    assert line(progress(1, late_rows=5, rejected_rows=1_000)).endswith(", 5 late, 1,000 rejected")


def test_panel_shows_rates_epoch_watermark_lag_and_bytes() -> None:
    text = shown(panel("hot [auctions]", progress(), 9.0))
    for part in (
        "[auctions]",
        "3,000,000",
        "2.00 M events/s",
        "500 MB/s",
        "2023-11-14",
        "2,000,000",
        "4.2 ms",
        "9.0 s",
    ):
        assert part in text
    assert "left out" not in text
    assert "7 late" in shown(panel("x", progress(1, late_rows=7), 1.0))


def test_panel_before_the_first_epoch() -> None:
    assert "waiting for the first epoch" in shown(panel("x", None, 0.0))


def test_live_panel_is_drawn_in_a_terminal_and_stays() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with choose("live", "demo", console=console) as display:
        assert isinstance(display, Live)
        display(progress())
    assert "3,000,000" in console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with choose("live", "demo", every_s=0.0) as display:
        assert isinstance(display, Lines)
        display(progress(1))
        display(progress(2))
    lines = capsys.readouterr().err.splitlines()
    assert [text[:13] for text in lines] == ["demo: epoch 1", "demo: epoch 2"]


def test_lines_are_rare_but_the_last_is_always_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with choose("lines", "demo", every_s=3_600.0) as display:
        for epoch in (1, 2, 3):
            display(progress(epoch))
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err.startswith("demo: epoch 3")


def test_json_is_one_object_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with choose("json", "demo") as display:
        assert isinstance(display, JsonLines)
        for epoch in (1, 1, 2):
            display(progress(epoch))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["epoch"] == 1 and first["events"] == 1_000_000
    assert second["epoch"] == 2 and {"events_per_s", "bytes", "lag", "watermark_us", "commit_ms"} <= set(second)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with choose("quiet", "demo") as display:
        assert type(display) is Quiet
        display(progress())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_bar_says_what_was_done(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    with bar("events", console) as advance:
        for done in (0, 600, 1_200):
            advance(done, 1_200, "detail")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert ("1200/1200" if terminal else "events: 1,200 in 0.0 s") in text
