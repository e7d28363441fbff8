"""The job of `benchmarks.peers.kafka` as people write it by hand: confluent-kafka, orjson and a dict.

BOOTSTRAP INPUT OUTPUT GROUP final|current COMMIT_MS. Results and input offsets go into one transaction; the open
windows are in memory alone, so a process that starts again has lost them: it reads on where it committed.
"""

from __future__ import annotations

import sys
import time

import orjson
from confluent_kafka import Consumer, Producer

WINDOW_MS, GRACE_MS = 10_000, 4_000

bootstrap, source, target, group, mode, commit_ms = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "isolation.level": "read_committed", "fetch.queue.backoff.ms": 0,
        "queued.max.messages.kbytes": 131_072, "session.timeout.ms": 6_000,
    }
)  # fmt: skip
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": group, "linger.ms": 5})
producer.init_transactions(30)
consumer.subscribe([source])

windows: dict[tuple[int, int], list[int]] = {}
newest: dict[int, int] = {}  # of each partition, in ms
changed: set[tuple[int, int]] = set()
ends: dict[int, set[tuple[int, int]]] = {}  # end of a window -> its keys


def emit(key: tuple[int, int]) -> None:
    auction, start = key
    bids, spent, top = windows[key]
    row = {"auction": auction, "window_start": start, "bids": bids, "spent": spent, "top": top}
    producer.produce(target, orjson.dumps(row), str(auction))


begun_s, open_transaction = time.monotonic(), False
while True:
    for message in consumer.consume(10_000, 0.05):
        if message.error():
            raise SystemExit(str(message.error()))
        bid = orjson.loads(message.value())
        time_ms = message.timestamp()[1]
        start = time_ms - time_ms % WINDOW_MS
        key = bid["auction"], start
        price = bid["price"]
        totals = windows.get(key)
        if totals is None:
            windows[key] = [1, price, price]
            ends.setdefault(start + WINDOW_MS, set()).add(key)
        else:
            totals[0] += 1
            totals[1] += price
            totals[2] = max(totals[2], price)
        if mode == "current":
            changed.add(key)
        partition = message.partition()
        if time_ms > newest.get(partition, 0):
            newest[partition] = time_ms
    if time.monotonic() - begun_s < int(commit_ms) / 1_000:
        continue
    begun_s = time.monotonic()
    assigned = {one.partition for one in consumer.assignment()}
    if not assigned or not newest:
        continue
    watermark = min(newest.get(partition, 0) for partition in assigned) - GRACE_MS
    producer.begin_transaction()
    for key in changed:
        emit(key)
    changed.clear()
    for end in sorted(end for end in ends if end <= watermark):
        for key in ends.pop(end):
            if mode == "final":
                emit(key)
            del windows[key]
    positions = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(
        [place for place in positions if place.offset >= 0], consumer.consumer_group_metadata(), 30
    )
    producer.commit_transaction(30)
