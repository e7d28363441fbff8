"""The job of `benchmarks.peers.kafka` in Quix Streams: BOOTSTRAP INPUT OUTPUT GROUP final|current COMMIT_MS STATE."""

import sys
from datetime import timedelta

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Sum

bootstrap, source, target, group, mode, commit_ms, state = sys.argv[1:]
app = Application(
    broker_address=bootstrap,
    consumer_group=group,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=int(commit_ms) / 1_000,
    state_dir=state,
    consumer_extra_config={"fetch.queue.backoff.ms": 0, "session.timeout.ms": 6_000},
    producer_extra_config={"linger.ms": 20},
    loglevel="WARNING",
)
bids = app.topic(source, key_deserializer="bytes", value_deserializer="json")
results = app.topic(target, key_serializer="bytes", value_serializer="json")
window = (
    app.dataframe(bids)
    .tumbling_window(timedelta(seconds=10), grace_ms=timedelta(seconds=4))
    .agg(bids=Count(), spent=Sum("price"), top=Max("price"))
)
by_partition = "partition"  # with the default, a window is closed by a later event of its own key alone
frame = window.final(by_partition) if mode == "final" else window.current(by_partition)


def named(row: dict, key: bytes, timestamp: int, headers: object) -> dict:
    totals = {name: row[name] for name in ("bids", "spent", "top")}
    return {"auction": int.from_bytes(key, "big"), "window_start": row["start"], **totals}


frame = frame.apply(named, metadata=True)
frame.to_topic(results)
app.run()
