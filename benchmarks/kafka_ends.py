"""Both ends of `kafka_latency`, each a process of its own: ``python -m benchmarks.kafka_ends send|read ...``.

Event `n` is due `n` / rate after a start that both know by the system's monotonic clock, and is of key ``n % KEYS``, so
a reader that sees the highest number of a key knows which events the row has in it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

KEYS = 1_000
PARTITIONS = 4
#: Event time of event 0.
BASE_US = 1_767_225_600_000_000
_EXTRA = b"x" * 118  # about 250 bytes an event
_SILENT_S = 60.0
_QUIET_S = 1.0  # without a row for so long: the job is done, or stalls


def document(number: int, rate: int) -> bytes:
    """Event `number` as JSON."""
    at, price = _rendered((BASE_US + number * 1_000_000 // rate) // 1_000), number * 7_919 % 100_000
    return (
        b'{"auction":%d,"number":%d,"price":%d,"channel":"channel-%d","dateTime":"%s","extra":"%s"}'
        % (number % KEYS, number, price, number % 100, at, _EXTRA)
    )  # fmt: skip


@lru_cache(8)
def _rendered(time_ms: int) -> bytes:
    return f"{datetime.fromtimestamp(time_ms // 1_000, UTC):%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}".encode()


def send(bootstrap: str, topic: str, rate: int, events: int, start_s: float) -> float:
    """Send each event when it is due; seconds that the latest of them was late.

    Events are made beforehand, so that little of the core that the broker needs goes into sending. Client options are
    librdkafka's own: records wait up to 5 ms (linger.ms) for others, as with the Java client since 4.0.
    """
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 2_000_000})
    made = [
        [{"value": document(number, rate)} for number in range(part, events, PARTITIONS)] for part in range(PARTITIONS)
    ]
    gc.disable()
    if time.monotonic() > start_s:
        raise SystemExit("the sender was not ready in time")
    number, most = 0, 0.0
    while number < events:
        now_s = time.monotonic()
        due = min(int((now_s - start_s) * rate) + 1, events)
        if due <= number:
            time.sleep(0.001)
            continue
        most = max(most, now_s - (start_s + number / rate))
        for part in range(PARTITIONS):
            first, end = (-(-(at - part) // PARTITIONS) for at in (number, due))
            producer.produce_batch(topic, made[part][first:end], partition=part)
        number = due
        producer.poll(0)
    producer.flush(30)
    return most


def read(bootstrap: str, topic: str, partitions: int, events: int, target: Path) -> None:
    """Save (key, highest number, window, count, when seen in ns) of every row, until each key's last event is there.

    Rows are decoded when nothing comes any more: what that takes would be taken from the broker, and be measured.
    """
    import orjson
    from confluent_kafka import Consumer, TopicPartition

    reader = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "isolation.level": "read_committed",
         "enable.auto.commit": False, "fetch.queue.backoff.ms": 0}
    )  # fmt: skip
    reader.assign([TopicPartition(topic, part, 0) for part in range(partitions)])
    seen: list[tuple[int, list[Any]]] = []
    rows: list[tuple[int, int, int, int, int]] = []
    newest: dict[int, int] = {}
    keys, heard_s = min(KEYS, events), time.monotonic()
    wanted = sum(range(events - keys, events))
    while sum(newest.values()) < wanted and time.monotonic() - heard_s < _SILENT_S:
        first = reader.poll(_QUIET_S)
        if first is not None:
            some = [first, *reader.consume(10_000, 0)]
            seen.append((time.monotonic_ns(), [message.value() for message in some]))
            heard_s = time.monotonic()
            continue
        for now_ns, values in seen:
            for row in map(orjson.loads, values):
                window_us = int(datetime.fromisoformat(row["window_start"]).timestamp()) * 1_000_000
                rows.append((row["auction"], row["number"], window_us, row["count"], now_ns))
                newest[row["auction"]] = max(row["number"], newest.get(row["auction"], -1))
        seen.clear()
    reader.close()
    np.save(target, np.array(rows, np.int64))


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("end", choices=("send", "read"))
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("events", type=int)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--target", type=Path)
    given = parser.parse_args()
    if given.end == "send":
        print(send(given.bootstrap, given.topic, given.rate, given.events, given.start))
    else:
        print("ready", file=sys.stderr)
        read(given.bootstrap, given.topic, given.partitions, given.events, given.target)


if __name__ == "__main__":
    _main()
