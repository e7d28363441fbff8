"""``python -m tests.crash --rounds 200 --workers 2 --seed 7``: kill a job again and again, and say what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="deaths and ends to go through")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same choices")
    parser.add_argument("--mutate", metavar="NAME", help="switch a safeguard off; 'list' shows them")
    parser.add_argument("--point", metavar="NAME", help="die at this point only")
    parser.add_argument("--kind", choices=("point", "kill", "zombie"), help="die in this way only")
    parser.add_argument("--no-power-cuts", action="store_true")
    parser.add_argument("--folder", help="where lives are laid out (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from tests.crash.mutations import MUTATIONS
    from tests.crash.preload import preload
    from tests.crash.server import Options, Server, unreached

    if args.mutate == "list":
        for name, mutation in MUTATIONS.items():
            print(f"{name:24}{mutation.what}")
        return 0
    options = Options(
        args.rounds, args.workers, args.seed, args.mutate, args.point, args.kind, not args.no_power_cuts, args.folder
    )
    preload()
    tally = Server(options).run()
    if args.json:
        print(json.dumps(tally.as_dict()))
    else:
        print(
            f"{tally.rounds} rounds, {tally.lives} lives, {len(tally.deaths)} ways to die, {tally.power_cuts} power cuts "
            f"({tally.undone} undone), {tally.fenced} fenced, {tally.rows} rows verified, {tally.polls} polls, "
            f"{tally.seconds} s; never died at: {', '.join(unreached(tally)) or 'none'}"
        )
        print(f"FAILED: {tally.failure}" if tally.failure else "nothing lost, nothing twice")
    return 1 if tally.failure else 0


if __name__ == "__main__":
    sys.exit(main())
