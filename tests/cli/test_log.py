"""``windrow log``: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from windrow.cli.log import app
from windrow.errors import LogError, RecordError
from windrow.io.log.ledger import LogLedger
from windrow.io.log.log import Log
from windrow.progress.ledger import EpochCommit

BAD = b"\xff\x00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Log(tmp_path / "log") as log:
        log.create_topic("raw", partitions=2)
        log.append("raw", [b"%d" % n for n in range(30)], partition=1, timestamps=1_000_000)
        log.append("raw", [BAD, b"new\nline \x1b[31m", None], keys=[b"k", None, b"k"], partition=0)
        log.create_topic("typed", schema=pa.schema([("n", pa.int64()), ("d", pa.date32())]))
        ledger = LogLedger(log)
        ledger.open("counts", {"fingerprint": "1"})
        ledger.commit(EpochCommit(1, {"raw": {0: 2, 1: 17}}, {}))
    return tmp_path / "log"


def ran(*arguments: object, input: bytes | None = None) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], input=input, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def as_json(*arguments: object, input: bytes | None = None) -> list[dict]:
    return [json.loads(line) for line in ran(*arguments, "--json", input=input).splitlines()]


def test_ls(path: Path) -> None:
    """Golden: one line a topic, one object a topic."""
    lines = ran("ls", path).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["topic", "partitions", "events"],
        ["raw", "2", "33"],
        ["typed", "1", "0"],
    ]
    raw, typed = as_json("ls", path)
    assert (raw["topic"], raw["events"], raw["raw"], raw["end_offsets"]) == ("raw", 33, True, [3, 30])
    assert typed["columns"] == {"n": "int64", "d": "date32[day]"}


def test_head_and_tail(path: Path) -> None:
    """Law: the first and the last events of each partition, with offsets, as text that cannot harm a terminal."""
    rows = as_json("head", path, "raw", "-n", 2, "-p", 1)
    assert [(row["partition"], row["offset"], row["value"]) for row in rows] == [(1, 0, "0"), (1, 1, "1")]
    rows = as_json("tail", path, "raw", "-n", 2)
    assert [(row["partition"], row["offset"], row["value"]) for row in rows] == [
        (0, 1, "new\nline \x1b[31m"), (0, 2, None), (1, 28, "28"), (1, 29, "29")
    ]  # fmt: skip
    assert as_json("head", path, "raw", "-n", 1, "-p", 0)[0]["value"] == {"hex": "ff00"}
    text = ran("head", path, "raw", "-p", 0)
    assert "\x1b" not in text and '0:0  key=k  value={"hex": "ff00"}' in text
    assert ran("tail", path, "typed") == ""


def test_append(path: Path, tmp_path: Path) -> None:
    """Law: a line an event, from a file or standard input; keys by option or by field; errors name the line."""
    assert as_json("append", path, "raw", "-p", 0, input=b"a\n\nb\r\n")[0] == {
        "topic": "raw", "appended": 2, "end_offsets": [5, 30]
    }  # fmt: skip
    (tmp_path / "lines").write_bytes(b'{"u": "x", "n": 1}\n{"u": 7}\n{"u": null}\n')
    assert "3 events appended to new" in ran(
        "append", path, "new", tmp_path / "lines", "--create", 3, "--key-field", "u"
    )
    with Log(path) as log:
        keys = [row["key"] for p in range(3) for b in log.read("new", p, 0) for row in b.to_pylist()]
    assert sorted(keys, key=repr) == [None, b"7", b"x"] or set(keys) == {None, b"7", b"x"}
    with pytest.raises(RecordError, match="event 2 is no JSON object with the field 'u'"):
        ran("append", path, "new", "--key-field", "u", input=b'{"u": 1}\n[]\n')
    with pytest.raises(LogError, match="no topic 'nowhere'"):
        ran("append", path, "nowhere", input=b"x\n")
    with pytest.raises(LogError, match="no log at"):
        ran("append", tmp_path / "nolog", "raw", input=b"x\n")


def test_stats(path: Path) -> None:
    """Golden: partitions and jobs."""
    (found,) = as_json("stats", path)
    assert [(one["topic"], one["partition"], one["next_offset"]) for one in found["partitions"]] == [
        ("raw", 0, 3), ("raw", 1, 30), ("typed", 0, 0)
    ]  # fmt: skip
    assert [(one["job"], one["epoch"], one["positions"]) for one in found["jobs"]] == [
        ("counts", 1, {"raw": {"0": 2, "1": 17}})
    ]
    text = ran("stats", path)
    assert "counts" in text and "raw: 2 17" in text


def test_verify(path: Path) -> None:
    """Law: exit code 0 and nothing for a sound log, 1 and every place for a damaged one."""
    assert "33 events: all sound" in ran("verify", path) and as_json("verify", path) == []
    (file,) = (path / "data").iterdir()
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    done = CliRunner().invoke(app, ["verify", str(path), "--json"])
    assert done.exit_code == 1
    (problem,) = [json.loads(line) for line in done.output.splitlines()]
    assert (problem["file"], problem["topic"], problem["partition"]) == (f"data/{file.name}", "raw", 0)
    assert "1 damaged places" in CliRunner().invoke(app, ["verify", str(path)]).output


def test_looking_changes_nothing(path: Path) -> None:
    """Law: a log that is not there is not made; one that is there stays byte by byte what it is."""
    with pytest.raises(LogError, match="no log at"):
        ran("ls", path.parent / "other")
    assert not (path.parent / "other").exists()
    before = {file: file.read_bytes() for file in path.glob("*/*")}
    for command in ("ls", "stats", "verify"):
        ran(command, path)
    assert {file: file.read_bytes() for file in path.glob("*/*")} == before
