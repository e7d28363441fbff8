"""``python -m tests.crash --rounds 200 --workers 2 --seed 7``: kill a job again and again, and say what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.crash.server import Options

os.environ.setdefault("POLARS_MAX_THREADS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="deaths and ends to go through")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same choices")
    parser.add_argument(
        "--mutate",
        metavar="NAME",
        action="append",
        help="switch a safeguard off; 'list' shows them, 'all' tries them",
    )
    parser.add_argument(
        "--point", metavar="NAME", action="append", default=[], help="die there only; may be given again"
    )
    parser.add_argument("--kind", choices=("point", "error", "kill", "zombie", "producer"), help="die in this way only")
    parser.add_argument("--no-power-cuts", action="store_true")
    parser.add_argument("--folder", help="where lives are laid out (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from tests.crash.mutations import MUTATIONS
    from tests.crash.preload import preload
    from tests.crash.server import Options, Server

    if args.mutate == ["list"]:
        for name, mutation in MUTATIONS.items():
            print(f"{name:24}{mutation.what}")
        return 0
    options = Options(
        args.rounds, args.workers, args.seed, tuple(args.point), args.kind, not args.no_power_cuts, args.folder
    )
    preload()
    if args.mutate:
        return mutate(list(MUTATIONS) if args.mutate == ["all"] else args.mutate, options, as_json=args.json)
    tally = Server(options).run()
    print(json.dumps(tally.as_dict()) if args.json else tally.text())
    return 1 if tally.failure else 0


def mutate(names: list[str], options: Options, *, as_json: bool) -> int:
    """Run with one safeguard off after the other; the status says how many went unseen."""
    from tests.crash.server import without

    unseen = 0
    for name in names:
        tally = without(name, options)
        unseen += tally.failure is None
        if as_json:
            print(json.dumps({"mutation": name, **tally.as_dict()}), flush=True)
        else:
            seen = f"seen after {tally.rounds} rounds: {tally.failure}" if tally.failure else "NOT SEEN"
            print(f"{name:24}{tally.seconds:6.1f} s  {seen[:220]}", flush=True)
    return unseen


if __name__ == "__main__":
    sys.exit(main())
