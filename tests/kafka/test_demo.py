"""`windrow demo --kafka` as people run it: from a topic to topics; what it shows is a plain-Python count (oracle)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

from windrow.cli.demo_data import SEED
from windrow.cli.demo_kafka import Place
from windrow.io.nexmark import nexmark_json

EVENTS = 30_000


def test_demo_on_kafka(broker: str) -> None:
    command = [sys.executable, "-m", "windrow.cli.main", "demo", "--events", str(EVENTS), "--kafka", broker]
    for _ in range(2):  # the second run finds the events
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{EVENTS:,} events" in done.stdout
    place = Place(broker, EVENTS)
    assert not place.missing()
    place.run = re.findall(r"(windrow-demo-\d+)-hot_auctions", done.stdout)[0]
    counted: Counter[tuple[int, int]] = Counter()
    for value in nexmark_json(0, EVENTS, seed=SEED).to_pylist():
        bid = json.loads(value)["bid"]
        if bid is not None:
            at_ms = round(datetime.fromisoformat(bid["dateTime"]).replace(tzinfo=UTC).timestamp() * 1_000)
            for hop in range(5):
                counted[at_ms // 2_000 * 2_000 - hop * 2_000, bid["auction"]] += 1
    rows = place.results("hot_auctions").to_pylist()
    found = {(round(row["window_start"].timestamp() * 1_000), row["auction"]): row["bids"] for row in rows}
    assert found == dict(counted) and len(rows) == len(found)
    assert f"hot_auctions: {len(rows):,} committed rows" in done.stdout
