"""The demo: its folder survives interruption (crash), its results are right (oracle), its pipeline is the example's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

import windrow as wr
from windrow.cli import demo_data
from windrow.cli.demo_data import PARTITIONS, TOPIC, Place, missing, write_events
from windrow.cli.demo_pipeline import pipeline
from windrow.cli.jobs import find
from windrow.errors import LogError

ROOT = Path(__file__).parents[2]
EVENTS = 20_000


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "windrow.cli.main", "demo", "--events", str(EVENTS), "--data", "demo-data"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def written(place: Place) -> list[list[bytes]]:
    with wr.Log(place.events) as log:
        return [
            [value for batch in log.read(TOPIC, partition, 0, max_rows=10**6) for value in batch["value"].to_pylist()]
            for partition in range(PARTITIONS)
        ]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data, "CHUNK", 400)


def test_demo_from_nothing_then_again_then_kept(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"{EVENTS:,} events" in first.stdout and "first results" in first.stdout
    assert "hot_auctions: the auctions with the most bids" in first.stdout and "highest_bids" in first.stdout
    again = demo(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "from an earlier run" in again.stderr
    assert tables(again.stdout) == tables(first.stdout), "computed anew, and the same"
    kept = demo(tmp_path, "--keep")
    assert kept.returncode == 0, kept.stderr
    assert "complete already" in kept.stdout and tables(kept.stdout) == tables(first.stdout)


def tables(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(("│", "hot_", "highest_"))]


def test_results_equal_a_plain_python_count(tmp_path: Path) -> None:
    place = Place(tmp_path / "demo")
    place.prepare(EVENTS, keep_results=False)
    write_events(place, EVENTS, lambda *_: None)
    with pipeline(place.events, place.results) as job:
        job.run()
    counted: Counter[tuple[int, int]] = Counter()
    highest: dict[int, int] = {}
    for value in (value for partition in written(place) for value in partition):
        bid = json.loads(value)["bid"]
        if bid is None:
            continue
        at = datetime.fromisoformat(bid["dateTime"])
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
        start = at_ms // 10_000 * 10_000
        highest[start] = max(highest.get(start, 0), bid["price"])
        for hop in range(5):
            counted[at_ms // 2_000 * 2_000 - hop * 2_000, bid["auction"]] += 1
    hot = wr.read_log(place.results, "hot_auctions", end="latest").collect().to_pylist()
    assert {(ms(row["window_start"]), row["auction"]): row["bids"] for row in hot} == dict(counted)
    best = wr.read_log(place.results, "highest_bids", end="latest").collect().to_pylist()
    assert {ms(row["window_start"]): row["price"] for row in best} == highest


def ms(time: datetime) -> int:
    return round(time.timestamp() * 1_000)


@pytest.mark.usefixtures("small_chunks")
def test_interrupted_writing_goes_on_where_it_was(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, _total: int, _detail: str) -> None:
        if done >= 800:
            raise Killed

    whole, torn = Place(tmp_path / "whole"), Place(tmp_path / "torn")
    whole.prepare(1_990, keep_results=False)
    write_events(whole, 1_990, lambda *_: None)
    torn.prepare(1_990, keep_results=False)
    with pytest.raises(Killed):
        write_events(torn, 1_990, kill)
    assert missing(torn, 1_990) == 1_190
    with wr.Log(torn.events) as log:  # killed between two partitions of a chunk
        log.append(TOPIC, written(whole)[0][200:300], partition=0)
    torn.prepare(1_990, keep_results=False)
    write_events(torn, 1_990, lambda *_: None)
    assert missing(torn, 1_990) == 0
    assert written(torn) == written(whole)


def test_another_number_of_events_starts_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.prepare(400, keep_results=False)
    write_events(place, 400, lambda *_: None)
    place.prepare(400, keep_results=False)
    assert missing(place, 400) == 0
    place.prepare(404, keep_results=True)
    assert missing(place, 404) == 404


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(LogError, match="holds something that is not the demo's; choose another folder with --data"):
        Place(tmp_path).prepare(400, keep_results=False)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"need about .*, .* are free; use fewer --events"):
        Place(tmp_path / "demo").prepare(10**13, keep_results=False)


def test_the_example_is_the_same_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = pipeline(Path("demo-data/events"), Path("demo-data/results"))
    assert find(str(ROOT / "examples" / "auction.py")).explain() == ours.explain()
