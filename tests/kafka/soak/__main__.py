"""``python -m tests.kafka.soak --minutes 60 --seed 7``: kill engines and brokers, and say what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "1")


def main() -> int:
    from tests.broker.jars import NEWEST
    from tests.kafka.soak.server import KINDS, Options, Server

    parser = argparse.ArgumentParser(prog="python -m tests.kafka.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="attempts of jobs to go through")
    lasts = parser.add_mutually_exclusive_group()
    lasts.add_argument("--minutes", type=float, help="go on for so long instead; says every minute how far it is")
    lasts.add_argument("--hours", type=float, help="the same")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same choices")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3), help="brokers")
    parser.add_argument("--version", default=NEWEST, help="of Apache Kafka")
    parser.add_argument("--events", type=int, default=240, help="of each partition, in each life")
    parser.add_argument("--kind", choices=KINDS, help="this happens, and nothing else")
    parser.add_argument("--shortest-pause", type=float, default=0.5, metavar="SECONDS", help="of what is stopped")
    parser.add_argument("--longest-pause", type=float, default=3.0, metavar="SECONDS", help="(default: %(default)g)")
    parser.add_argument("--transaction-timeout", type=float, default=60.0, metavar="SECONDS", help="of the jobs")
    parser.add_argument("--folder", help="where data is laid out (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from tests.crash.preload import preload

    preload()
    minutes = args.hours * 60 if args.hours else args.minutes
    tally = Server(
        Options(
            args.rounds, minutes, args.seed, args.nodes, args.version, args.kind, args.events,
            (args.shortest_pause, max(args.shortest_pause, args.longest_pause)), args.folder,
            args.transaction_timeout, say=True,
        )
    ).run()  # fmt: skip
    print(json.dumps(tally.as_dict()) if args.json else tally.text())
    return 1 if tally.failure else 0


if __name__ == "__main__":
    sys.exit(main())
