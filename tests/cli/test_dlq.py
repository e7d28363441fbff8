"""``windrow dlq`` over an embedded log: golden outputs, and laws on what is sent again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import windrow as wr
from windrow.cli.dlq.command import app
from windrow.errors import FencedError, LogError, PlanError, RecordError
from windrow.io.log.replay import LogReplay
from windrow.testing import At, installed

SCHEMA = wr.schema(n="int64")
SPAN_5 = ["1970-01-01", "00:00:05", "..", "1970-01-01", "00:00:05"]
SPAN_7 = ["1970-01-01", "00:00:07", "..", "1970-01-01", "00:00:07"]
NASTY = b'\x1b[31mred\xff\n{"n": 1}'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log whose dead letters are of two partitions and two kinds."""
    path = tmp_path / "log"
    with wr.Log(path) as made:
        made.create_topic("in", partitions=2, headers=True)
        made.create_topic("fixed", partitions=3)
        headers = [None, [{"key": "h", "value": b"\x00"}], None, None]
        values = [b'{"n": 1}', b'{"n": "x"}', NASTY, b'{"n": "y"}']
        made.append("in", values, keys=[b"a", b"b", b"c", None], headers=headers, timestamps=5_000_000, partition=0)
        made.append("in", [b"{}", b"["], timestamps=7_000_000, partition=1)
    with reading(path) as job:
        job.run(until="caught up")
    return path


def reading(path: Path) -> wr.Job:
    stream = wr.read_log(path, "in", schema=SCHEMA, dead_letter="dead")
    return wr.job(stream.write_log(path, "out"), name="copy")


def ran(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def as_json(*arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran(*arguments, "--json").splitlines()]


def rows(path: Path, topic: str, partition: int) -> list[tuple[Any, ...]]:
    with wr.Log(path, create=False, read_only=True) as opened:
        found = [batch.to_pylist() for batch in opened.read(topic, partition, 0)]
    return [tuple(row.values()) for some in found for row in some]


def test_ls(log: Path) -> None:
    """Golden: groups with their counts, origin offsets and times, as text and as JSON."""
    text = ran("ls", "dead", "--log", log, "--by", "topic,partition").splitlines()
    assert [line.split() for line in text] == [
        ["letters", "sent", "again", "first", "offsets", "timestamps", "topic", "partition"],
        ["3", "0", "0:0", "1..3", *SPAN_5, "in", "0"],
        ["1", "0", "0:3", "1..1", *SPAN_7, "in", "1"],
    ]
    found = as_json("ls", "dead", "--log", log)
    assert sum(one["count"] for one in found) == 4 and {one["topic"] for one in found} == {"in"}
    kinds = {one["field"]: one["count"] for one in as_json("ls", "dead", "--log", log, "--by", "field")}
    assert kinds == {"n": 2, None: 2}
    assert ran("ls", "dead", "--log", log, "--reason", "no such reason") == "no dead letters\n"
    with pytest.raises(PlanError, match="there is no 'colour'; there are reason"):
        ran("ls", "dead", "--log", log, "--by", "colour")


def test_show(log: Path) -> None:
    """Law: everything of a letter, escaped and bounded; one that is not there is said."""
    text = ran("show", "dead", "0:1", "--log", log)
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\x1b[31mred\xff\n{" in text and "in[0] offset 2" in text and "decode in" in text
    assert "... (13 more bytes) (18 bytes)" in ran("show", "dead", "0:1", "--log", log, "--bytes", 5)
    (whole,) = as_json("show", "dead", "0:0", "--log", log)
    assert (whole["value"], whole["headers"]) == ('{"n": "x"}', [{"key": "h", "value": "\x00"}])
    assert (whole["job"], whole["step"], whole["field"]) == ("copy", "decode in", "n")
    with pytest.raises(RecordError, match=r"no dead letter at dead\[0\] offset 9"):
        ran("show", "dead", "0:9", "--log", log)


def test_replay_sends_once(log: Path) -> None:
    """Law: chosen letters go back whole, to their partitions, and never again; a dry run writes nothing."""
    before = rows(log, "in", 0)
    assert "2 dead letters would be sent" in ran(
        "replay", "dead", "--log", log, "--offsets", "2..", "-p", 0, "--dry-run"
    )
    assert rows(log, "in", 0) == before
    assert ran("replay", "dead", "--log", log, "--offsets", "2..", "-p", 0).splitlines() == [
        "           2  in[0]", "2 dead letters sent",
    ]  # fmt: skip
    assert rows(log, "in", 0)[4:] == before[2:4]
    (said,) = as_json("replay", "dead", "--log", log, "--all")
    assert (said["sent"], said["sent_before"]) == (2, 2)
    assert rows(log, "in", 0)[6:] == before[1:2] and rows(log, "in", 1)[2:] == rows(log, "in", 1)[1:2]
    assert "0 dead letters sent; 4 were sent before" in ran("replay", "dead", "--log", log, "--all")
    assert [one["replayed"] for one in as_json("ls", "dead", "--log", log, "--by", "topic")] == [4]
    with reading(log) as job:  # what is sent again is read again, and dies again
        job.run(until="caught up")
    (again,) = as_json("replay", "dead", "--log", log, "--all", "--dry-run")
    assert (again["sent"], again["sent_before"]) == (4, 4)


def test_replay_to_another_topic(log: Path) -> None:
    """Law: by key there, and apart from what was sent to where it came from."""
    with pytest.raises(LogError, match="'fixed' was created without headers"):
        ran("replay", "dead", "--log", log, "--all", "--to", "fixed")
    (said,) = as_json("replay", "dead", "--log", log, "--reason", "malformed", "--to", "fixed")
    assert said["sent"] == 2
    (back,) = as_json("replay", "dead", "--log", log, "--all", "--dry-run")
    assert (back["sent"], back["sent_before"]) == (4, 0)
    values = sorted(row[1] for part in range(3) for row in rows(log, "fixed", part))
    assert values == sorted([NASTY, b"["])


class Died(Exception):
    """Stands for the end of a process."""


def die() -> None:
    raise Died


@pytest.mark.parametrize("point", ["log.write.partial", "log.sync.after", "store.commit.before", "store.commit.after"])
def test_a_death_sends_nothing_twice(log: Path, point: str) -> None:
    """Crash: letters and the memory of them are in one commit."""
    before = [rows(log, "in", part) for part in (0, 1)]
    with pytest.raises(Died), installed(At(point, die, 2 if point.startswith("store") else 1)):
        ran("replay", "dead", "--log", log, "--all")
    ran("replay", "dead", "--log", log, "--all")
    assert [rows(log, "in", part) for part in (0, 1)] == [before[0] + before[0][1:], before[1] + before[1][1:]]


def test_two_replays_at_once(log: Path) -> None:
    """Law: the one that did not know of the other's work does nothing."""
    first, second = LogReplay(log, "dead"), LogReplay(log, "dead")
    letters = next(iter(first.letters()))
    assert sum(first.send(letters, None).values()) == letters.num_rows
    with pytest.raises(FencedError, match="another process has sent"):
        second.send(letters, None)
    first.close()
    second.close()
    assert len(rows(log, "in", 0)) + len(rows(log, "in", 1)) == 6 + letters.num_rows


def test_what_is_wrong_is_said(log: Path) -> None:
    """Law: nothing is sent by accident, and sentences say what to do."""
    with pytest.raises(PlanError, match=r"say which dead letters .* or --all"):
        ran("replay", "dead", "--log", log)
    with pytest.raises(PlanError, match="--kafka BOOTSTRAP or --log DIRECTORY"):
        ran("ls", "dead")
    with pytest.raises(LogError, match="'in' holds no dead letters"):
        ran("ls", "in", "--log", log)
    with pytest.raises(PlanError, match=r"offsets are FIRST..END"):
        ran("replay", "dead", "--log", log, "--offsets", "a-b")
