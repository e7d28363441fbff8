"""An engine process: reads what ``examples/producer.py`` appends, while it appends it, and keeps 5 s averages.

    python examples/engine_reads_log.py /tmp/readings --seconds 30

Stop it at any time and start it again: it goes on where its last commit was, and no reading counts twice.
"""

from __future__ import annotations

import argparse

import windrow as wr

READING = wr.schema(sensor="string", celsius="float64", at=wr.field("timestamp", format="ms"))


def main() -> None:
    arguments = argparse.ArgumentParser(description="Average sensor readings from an embedded log.")
    arguments.add_argument("log", help="the log's directory")
    arguments.add_argument("--seconds", type=float, default=30.0, help="how long")
    options = arguments.parse_args()

    readings = wr.read_log(options.log, "readings", schema=READING).watermark("at", delay="1s", idle="5s")
    averages = readings.group_by("sensor").window(wr.tumbling("5s")).agg(readings=wr.count(), mean=wr.mean("celsius"))
    with averages.write_log(options.log, "averages", key="sensor") as job:
        job.run(timeout=options.seconds)

    with wr.open_log(options.log, create=False, read_only=True) as log:
        end = log.end_offset("averages", 0)
        print(f"{end} averages in topic 'averages'; the last ones:")
        for batch in log.read("averages", 0, max(end - 5, 0)):
            for row in batch.to_pylist():
                print(row)


if __name__ == "__main__":
    main()
