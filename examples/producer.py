"""A producer process: appends sensor readings as JSON to an embedded log, some every moment, until it is stopped.

    python examples/producer.py /tmp/readings --seconds 30

Run it beside ``examples/engine_reads_log.py``; run several of it: appends of different processes do not disturb each
other, and every append is durable when it returns.
"""

from __future__ import annotations

import argparse
import json
import random
import time

import windrow as wr

TOPIC = "readings"


def main() -> None:
    arguments = argparse.ArgumentParser(description="Append sensor readings to an embedded log.")
    arguments.add_argument("log", help="the log's directory; made when it is not there")
    arguments.add_argument("--seconds", type=float, default=30.0, help="how long")
    arguments.add_argument("--rate", type=int, default=5_000, help="events per second")
    options = arguments.parse_args()

    with wr.open_log(options.log) as log:
        log.create_topic(TOPIC, partitions=2, retention="1h", if_exists="ok")
        chance = random.Random()
        begun = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - begun) < options.seconds:
            due = int(passed * options.rate) - sent
            sensors = [f"sensor-{chance.randrange(50)}" for _ in range(due)]
            values = [
                json.dumps(
                    {"sensor": sensor, "celsius": round(chance.gauss(20, 3), 2), "at": time.time_ns() // 1_000_000}
                )
                for sensor in sensors
            ]
            if due:
                log.append(TOPIC, [v.encode() for v in values], keys=[s.encode() for s in sensors])
            sent += due
            time.sleep(0.05)
        print(f"{sent} readings appended to {options.log}; it ends at {log.topic(TOPIC).end_offsets}")


if __name__ == "__main__":
    main()
