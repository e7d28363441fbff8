"""Records that cannot be read, on purpose or by mistake: they go where they are told to, and the others flow.

Kind: differential against a plain reading of every document, and law on memory, measured in a process of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import windrow as wr
from tests.codec.kafka_bytes import Record, batch
from tests.kafka.lines import fresh, made, produce, send
from tests.kafka.test_dead_letters import records
from windrow.codec.kafka_compression import Compression
from windrow.codec.kafka_encode import encode
from windrow.io.kafka.client import Cluster

SCHEMA = wr.schema(
    id=wr.field("int64", required=True),
    amount="float64",
    name="string",
    flag="bool",
)
ROWS = 1_500


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    opened = Cluster(broker)
    yield opened
    opened.close()


def documents(seed: int) -> list[bytes]:
    """A stream whose documents change their shape half way, and of which some are no documents."""
    dice = random.Random(seed)
    made: list[bytes] = []
    for number in range(ROWS):
        row: dict[str, Any] = {"id": number, "amount": dice.random(), "name": f"n{number}", "flag": bool(number % 2)}
        if number > ROWS // 3:
            row["more"] = {"new": [number]}  # a field that nobody has heard of
        if number > ROWS // 2:
            del row["flag"]  # and one that does not come any more
        if number > 2 * ROWS // 3 and dice.random() < 0.3:
            changed = dice.choice(["id", "amount", "name"])  # and some of another type, or gone
            row[changed] = dice.choice([None, "7", 7, 7.5, [7], {"n": 7}, True])
        text = json.dumps(row).encode()
        if dice.random() < 0.1:
            poison = [b"", b"null", b"7", b"[" + text + b"]", text[:-1], text + b"}", b"\xff" + text, b"\x00" * 9]
            text = dice.choice(poison)
        made.append(text)
    return made


def fits(document: bytes) -> dict[str, Any] | None:
    """The row that a document is, or None: what Python's own parser and types say."""
    try:
        said = json.loads(document.decode())
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("id") is None:
        return None
    row = {name: said.get(name) for name in ("id", "amount", "name", "flag")}
    kinds = {"id": (int,), "amount": (int, float), "name": (str,), "flag": (bool,)}
    for name, value in row.items():
        if value is not None and (not isinstance(value, kinds[name]) or (name != "flag" and isinstance(value, bool))):
            return None
    return row


@pytest.mark.parametrize("policy", ["dead_letter", "skip", "fail"])
def test_a_stream_that_changes_its_schema(broker: str, cluster: Cluster, policy: str) -> None:
    """differential: what comes in is out or dead, to the record; or the job stops at the first that is bad."""
    texts = documents(3)
    source, dead, target = made(cluster, "in"), made(cluster, "dead"), made(cluster, "out")
    for at in range(0, ROWS, 100):
        produce(cluster, source, 0, texts[at : at + 100])
    good = [row for text in texts if (row := fits(text)) is not None]
    bad = [(number, text) for number, text in enumerate(texts) if fits(text) is None]
    assert len(good) > 900 and len(bad) > 200
    options: dict[str, Any] = {"dead_letter": dead} if policy == "dead_letter" else {"on_error": policy}
    stream = wr.read_kafka(broker, source, schema=SCHEMA, end="latest", **options)
    with wr.job(stream.write_kafka(broker, target), name=fresh("job"), limits=wr.Limits(epoch_rows=400)) as job:
        if policy == "fail":
            with pytest.raises(wr.RecordError, match=rf"{source}\[0\] offset {bad[0][0]}\b"):
                job.run()
            return
        job.run()
        counts = job.metrics()["sources"][source]
    out = wr.read_kafka(broker, target, schema=SCHEMA, end="latest").collect().to_pylist()
    assert out == good
    letters = records(broker, dead)
    story = [dict(one.headers()) for one in letters]
    offsets = [int(one["__windrow.errors.offset"]) for one in story]
    kept = [(offset, one.value()) for offset, one in zip(offsets, letters, strict=True)]
    assert kept == (bad if policy == "dead_letter" else [])
    assert counts["rows_in"] == ROWS == counts["rows_out"] + counts["rejected_rows"]
    assert (counts["rows_out"], counts["dead_letter_rows"]) == (len(out), len(letters))


CHILD = """
import json, sys
from pathlib import Path
import windrow as wr
broker, source, target, dead = sys.argv[1:]
schema = wr.schema(n="int64", text="string")
stream = wr.read_kafka(broker, source, schema=schema, end="latest", dead_letter=dead)
with wr.job(stream.write_kafka(broker, target), name=target) as job:
    try:
        job.run()
        said = "ended"
    except wr.RecordError as error:
        said = str(error)
    counts = job.metrics()["sources"][source]
# not ru_maxrss, in which the process that started this one counts too
(peak,) = [int(line.split()[1]) << 10 for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(json.dumps({"peak": peak, "said": said, "in": counts["rows_in"], "dead": counts["dead_letter_rows"]}))
"""
#: What bombs of 120 MB together may add to the memory of a process: they are there as they came, and as dead letters.
CAP_BYTES = 400 << 20
MB = 1_000_000


def packed(value: bytes, codec: Compression) -> bytes:
    (one,) = encode(None, pa.array([value]), np.array([1]), compression=codec, max_batch_bytes=200 * MB).batches
    assert one.nbytes < MB
    return bytes(one.stamped(-1, -1, -1, False))


def run(broker: str, cluster: Cluster, source: str, dead: str) -> dict[str, Any]:
    target = made(cluster, "out")
    command = [sys.executable, "-c", CHILD, broker, source, target, dead]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["out"] = wr.read_kafka(broker, target, schema=wr.schema(n="int64"), end="latest").collect().num_rows
    return found


@pytest.mark.slow
def test_bombs_stay_within_bounds(broker: str, cluster: Cluster) -> None:
    """law: what is small on the wire and large in memory is a dead letter, or stops its partition; memory has a cap,
    and every other record comes through."""
    good = [b'{"n": %d}' % number for number in range(200)]
    plain, dead = made(cluster, "plain", 4), made(cluster, "dead")
    for part in range(4):
        produce(cluster, plain, part, good)
    base = run(broker, cluster, plain, dead)
    assert (base["in"], base["out"], base["dead"]) == (800, 800, 0)
    source, dead = made(cluster, "in", 4), made(cluster, "dead")
    bombs: list[tuple[bytes, Compression]] = [
        (b"[" * 100_000, "none"),
        (b'{"n": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "zstd"),
        (b'{"n": ' + b"7" * MB + b"}", "zstd"),
        (b'{"text": "' + b"x" * (50 * MB) + b'"}', "gzip"),
        (b"\x00" * (40 * MB), "lz4"),
        (b"\x00" * (15 * MB), "snappy"),
        (b"\x00" * (15 * MB), "zstd"),
    ]
    many = b"{" + b",".join(b'"k%d": 1' % number for number in range(100_000)) + b', "n": 5}'
    for number, (value, codec) in enumerate(bombs):
        send(cluster, source, number % 3, packed(value, codec))
        produce(cluster, source, number % 3, good[:10])
    send(cluster, source, 0, packed(many, "gzip"))  # large, and sound
    send(cluster, source, 1, batch(0, [Record(0, b"bad", headers=[(b"\xff\xfe", b"v")])]))
    produce(cluster, source, 3, good)
    at = send(cluster, source, 3, packed(b"\x00" * (150 * MB), "zstd"))  # 30,000 times its size: refused
    produce(cluster, source, 3, good)
    done = run(broker, cluster, source, dead)
    assert done["peak"] - base["peak"] < CAP_BYTES, (done["peak"], base["peak"])
    assert f"{source}[3] stands at offset {at}" in done["said"] and "more than the" in done["said"]
    assert done["dead"] == len(bombs) + 1
    assert done["out"] == len(bombs) * 10 + 1 + len(good)
    sizes = sorted(len(one.value()) for one in records(broker, dead))
    assert sizes == sorted([3, *(len(value) for value, _ in bombs)])
