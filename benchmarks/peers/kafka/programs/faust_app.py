"""The job of `benchmarks.peers.kafka` in Faust: BOOTSTRAP INPUT OUTPUT GROUP final|current COMMIT_MS STATE.

Faust's windowed tables tell that a window is over only by the wall clock; results are sent for each event, which is
how its documentation shows windowed counts.
"""

import struct
import sys
from datetime import timedelta

import faust

bootstrap, source, target, group, mode, commit_ms, state = sys.argv[1:]
sys.argv = [sys.argv[0], "worker", "--without-web", "-l", "warn"]
app = faust.App(
    group,
    broker=f"kafka://{bootstrap}",
    datadir=state,
    store="memory://",
    processing_guarantee="at_least_once",
    broker_commit_interval=int(commit_ms) / 1_000,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=2.0,
    consumer_auto_offset_reset="earliest",
    topic_partitions=4,
    topic_replication_factor=1,
    stream_buffer_maxsize=32_768,
    stream_wait_empty=False,
)


bids = app.topic(source, key_type=bytes, value_type=bytes, value_serializer="raw")
results = app.topic(target, value_serializer="json")
totals = app.Table("totals", default=lambda: (0, 0, 0), partitions=4).tumbling(
    timedelta(seconds=10), expires=timedelta(minutes=10)
)


@app.agent(bids)
async def count(stream):
    import orjson

    async for event in stream.events():
        bid = orjson.loads(event.value)
        auction, price = bid["auction"], bid["price"]
        found, spent, top = totals[auction].current()
        row = (found + 1, spent + price, max(top, price))
        totals[auction] = row
        start = int(event.message.timestamp // 10 * 10_000)
        value = {"auction": auction, "window_start": start, "bids": row[0], "spent": row[1], "top": row[2]}
        await results.send(key=struct.pack(">q", auction), value=value)


app.main()
