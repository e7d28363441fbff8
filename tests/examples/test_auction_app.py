"""The auction application against a plain recomputation, however its epochs are cut and wherever it dies."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from examples import auction_app
from windrow.testing import At, installed

Event = dict[str, Any]
SEED, AUCTIONS, BIDS = 3, 4, 400
#: Where it dies -> at which arrival: after some epochs, so that somebody has been told something.
DEATHS = {"epoch.applied": 3, "commit.staged": 3, "store.commit.before": 14, "commit.committed": 3}


class Died(Exception):
    """Stands for the end of a process."""


def _die() -> None:
    raise Died


def limits(rows: int) -> wr.Limits:
    """Epochs of so many rows, never fewer because the machine is slow."""
    return wr.Limits(epoch_rows=rows, epoch_ms=600_000)


def rows(folder: Path, topic: str) -> list[Event]:
    return wr.read_log(folder, topic, end="latest").collect().to_pylist()


def winners_of(folder: Path) -> dict[int, Event]:
    """The last row of each auction counts."""
    return {row["auction"]: row for row in rows(folder, "winners")}


def best(auctions: list[Event], bids: list[Event]) -> dict[int, Event]:
    """Auction -> its winning bid, one bid after the other."""
    rules = {event["auction"]: event for event in auctions}
    found: dict[int, Event] = {}
    for bid in bids:
        rule, known = rules[bid["auction"]], found.get(bid["auction"])
        if bid["price"] < rule["reserve"] or bid["at"] >= rule["closes"]:
            continue
        mine = (-bid["price"], bid["at"], bid["bid"])
        if known is None or mine < (-known["price"], known["at"], known["bid"]):
            found[bid["auction"]] = bid
    return found


def plain_spreads(bids: list[Event], offers: list[Event]) -> dict[tuple[int, int], list[Any]]:
    """(auction, start of the window in seconds) -> its statistics."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for bid in bids:
        before = [o for o in offers if o["auction"] == bid["auction"] and o["offered"] <= bid["at"]]
        if before:
            offer = max(before, key=lambda o: o["offered"])["offer"]
            groups[bid["auction"], bid["at"] // 10_000 * 10].append((bid["price"], offer))
    made = {}
    for key, pairs in groups.items():
        apart = [offer - price for price, offer in pairs]
        highest, lowest = max(price for price, _ in pairs), min(offer for _, offer in pairs)
        met = sum(spread <= 0 for spread in apart)
        made[key] = [len(pairs), highest, lowest, min(apart), max(apart), pytest.approx(fmean(apart)), met]
    return made


def spreads_of(folder: Path) -> dict[tuple[int, int], list[Any]]:
    made = {}
    for row in rows(folder, "spreads"):
        key = (row["auction"], int(row["window_start"].timestamp()))
        assert key not in made  # each window once
        names = ("bids", "highest_bid", "lowest_offer", "narrowest", "widest", "mean", "met")
        made[key] = [row[name] for name in names]
    return made


def check(folder: Path) -> None:
    """Winners and spreads are those of a plain recomputation."""
    events = auction_app.make_events(SEED, AUCTIONS, BIDS)
    found, expected = winners_of(folder), best(events["auctions"], events["bids"])
    assert {auction: row["bid"] for auction, row in found.items()} == {a: bid["bid"] for a, bid in expected.items()}
    for auction, row in found.items():
        bid = expected[auction]
        at = datetime.fromtimestamp(bid["at"] / 1_000, UTC)
        assert (row["item"], row["bidder"], row["price"]) == (f"lot {auction}", bid["bidder"], bid["price"])
        assert abs((row["at"] - at).total_seconds()) < 1e-4
    assert spreads_of(folder) == plain_spreads(events["bids"], events["offers"])


@pytest.mark.parametrize("epoch_rows", [23, 160, 100_000])
def test_winners_and_spreads_do_not_depend_on_how_epochs_are_cut(tmp_path: Path, epoch_rows: int) -> None:
    """oracle: of many small epochs, some, and one."""
    auction_app.fill(tmp_path, SEED, AUCTIONS, BIDS)
    with auction_app.application(tmp_path, limits=limits(epoch_rows), shards=3) as job:
        job.run()
    check(tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_who_was_the_highest_and_no_longer_is_gets_a_notice(tmp_path: Path, seed: int) -> None:
    """oracle: bids come in random portions; who led after one and does not after the next is told, exactly once."""
    chance = random.Random(seed)
    events = auction_app.make_events(seed, AUCTIONS, 120)
    expected: list[tuple[Any, ...]] = []
    with wr.Log(tmp_path) as log:
        for topic in events:
            log.create_topic(topic, partitions=2)
        auction_app.append(log, "auctions", events["auctions"])
        with auction_app.application(tmp_path, end=None, shards=3) as job:
            job.step()
            seen: list[Event] = []
            while len(seen) < len(events["bids"]):
                before = best(events["auctions"], seen)
                portion = events["bids"][len(seen) : len(seen) + chance.randrange(1, 9)]
                auction_app.append(log, "bids", portion)
                report = job.step()
                assert report is not None
                seen += portion
                for auction, bid in best(events["auctions"], seen).items():
                    old = before.get(auction)
                    if old is not None and old["bidder"] != bid["bidder"]:
                        gone = (auction, report.epoch, old["bidder"], old["price"])
                        expected.append((*gone, bid["bidder"], bid["price"]))
    assert len(expected) > 10
    assert sorted(auction_app.Outbox(tmp_path / "outbox.sqlite").notices()) == sorted(expected)


@pytest.mark.parametrize("point", list(DEATHS))
def test_nobody_is_told_twice_when_it_dies(tmp_path: Path, point: str) -> None:
    """crash: again and again; the notices and all else are those of a run that was left alone."""
    notices = {}
    for folder, deaths in ((tmp_path / "calm", 0), (tmp_path / "wild", 3)):
        auction_app.fill(folder, SEED, AUCTIONS, BIDS)
        for _ in range(deaths):
            with installed(At(point, _die, DEATHS[point])), pytest.raises(Died):
                auction_app.application(folder, limits=limits(40)).run()
            assert winners_of(folder)
        with auction_app.application(folder, limits=limits(40)) as job:
            job.run()
        check(folder)
        notices[folder.name] = auction_app.Outbox(folder / "outbox.sqlite").notices()
    assert notices["calm"] and sorted(notices["wild"]) == sorted(notices["calm"])


def test_an_epoch_that_is_given_again_changes_nothing(tmp_path: Path) -> None:
    """law: also when a later one has been taken since, and in pieces."""
    outbox = auction_app.Outbox(tmp_path / "outbox.sqlite")

    def take(epoch: int, *bids: tuple[int, str, int]) -> None:
        names = ("auction", "bidder", "price")
        outbox.take(pa.RecordBatch.from_pylist([dict(zip(names, bid, strict=True)) for bid in bids]), epoch)

    take(1, (7, "Ada", 10), (8, "Ada", 20))
    take(2, (7, "Ben", 12))
    take(2, (8, "Cleo", 21))  # another batch of the same epoch
    take(3, (7, "Ben", 15))  # over the own bid: no news to anybody
    told = [(7, 2, "Ada", 10, "Ben", 12), (8, 2, "Ada", 20, "Cleo", 21)]
    assert outbox.notices() == told
    take(2, (7, "Ben", 12))
    take(1, (7, "Ada", 10), (8, "Ada", 20))
    assert outbox.notices() == told
    take(4, (7, "Dan", 16))
    assert outbox.notices() == [*told, (7, 4, "Ben", 15, "Dan", 16)]


def test_it_runs_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """golden: what it prints; run again, it has nothing to add."""
    auction_app.fill(tmp_path, SEED, 1, 900)  # more than an epoch
    auction_app.main(str(tmp_path))
    printed = capsys.readouterr().out
    assert "lot 0" in printed and "is outbid" in printed
    auction_app.main(str(tmp_path))
    assert capsys.readouterr().out == printed
