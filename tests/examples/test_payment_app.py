"""The payment application: no money is lost in any epoch, wherever epochs are cut and wherever it dies."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

import windrow as wr
from examples import payment_app
from windrow.testing import At, installed

Event = dict[str, Any]
SEED, COUNT = 5, 150
#: Where it dies -> at which arrival: after some epochs, so that there is something to lose.
DEATHS = {"epoch.applied": 3, "commit.staged": 3, "store.commit.before": 9, "commit.committed": 3}


class Died(Exception):
    """Stands for the end of a process."""


def _die() -> None:
    raise Died


def limits(rows: int) -> wr.Limits:
    """Epochs of so many rows, never fewer because the machine is slow."""
    return wr.Limits(epoch_rows=rows, epoch_ms=600_000)


def ms(row: Event, name: str) -> int:
    """A time as the events have it."""
    return round(row[name].timestamp() * 1_000)


def plain(events: dict[str, list[Event]]) -> dict[int, Event]:
    """Payment -> its request with state and time of the decision, one event after the other."""
    paid: dict[int, Event] = {}
    for request in events["requests"]:
        if request["amount"] > 0:
            paid.setdefault(request["payment"], {**request, "state": payment_app.IN_FLIGHT})
    for outcome in events["outcomes"]:
        payment = paid.get(outcome["payment"])
        if payment is not None and payment["state"] == payment_app.IN_FLIGHT:
            payment |= {"state": outcome["outcome"], "decided": max(outcome["decided"], payment["at"])}
    return paid


def plain_balances(paid: dict[int, Event], as_of: int = 2**62) -> Counter[str]:
    """Account -> what it has at a time: a plain account book."""
    book: Counter[str] = Counter()
    for payment in paid.values():
        if payment["at"] <= as_of:
            book[payment["payer"]] -= payment["amount"]
            holder = payment_app.IN_FLIGHT
            if payment["state"] != payment_app.IN_FLIGHT and payment["decided"] <= as_of:
                holder = payment["payee" if payment["state"] == "confirmed" else "payer"]
            book[holder] += payment["amount"]
    return book


def check_conserved(folder: Path) -> dict[str, int]:
    """What holds after every commit, across the topics; the balances that there are."""
    rows = payment_app.now(folder, "balances")
    there = {row["account"]: row["balance"] for row in rows}
    assert len(there) == len(rows)  # one balance an account
    assert sum(there.values()) == 0
    by_account: Counter[str] = Counter()
    by_payment: Counter[int] = Counter()
    for row in payment_app.now(folder, "entries"):
        by_account[row["account"]] += row["amount"]
        by_payment[row["payment"]] += row["amount"]
    assert dict(by_account) == there
    assert not any(by_payment.values())
    waiting = [row["amount"] for row in payment_app.now(folder, "states") if row["state"] == payment_app.IN_FLIGHT]
    assert there.get(payment_app.IN_FLIGHT, 0) == sum(waiting)
    return there


def check_result(folder: Path, events: dict[str, list[Event]]) -> None:
    """Balances, states and answers are those of a plain recomputation."""
    paid = plain(events)
    assert Counter(check_conserved(folder)) == plain_balances(paid)  # an account may be there with nothing in it
    states: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for payment in paid.values():
        count, amount = states[payment["state"]]
        states[payment["state"]] = (count + 1, amount + payment["amount"])
    there = {row["state"]: (row["payments"], row["amount"]) for row in payment_app.now(folder, "states")}
    assert there == dict(states)
    answers = payment_app.now(folder, "answers")
    assert {row["question"] for row in answers} == {event["question"] for event in events["questions"]}
    assert len(answers) == len(events["questions"])
    for row in answers:
        assert row["balance"] == plain_balances(paid, ms(row, "as_of"))[row["account"]]


@pytest.mark.parametrize("epoch_rows", [19, 140, 100_000])
def test_no_money_is_lost_in_any_epoch(tmp_path: Path, epoch_rows: int) -> None:
    """oracle: at every commit the sum is zero, and the end does not depend on how epochs were cut."""
    payment_app.fill(tmp_path, SEED, COUNT)
    epochs = 0
    with payment_app.application(tmp_path, limits=limits(epoch_rows), shards=3) as job:
        while job.step() is not None:
            check_conserved(tmp_path)
            epochs += 1
    events = payment_app.make_events(SEED, COUNT)
    assert epochs >= sum(map(len, events.values())) // epoch_rows
    check_result(tmp_path, events)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_comes_first(tmp_path: Path, seed: int) -> None:
    """oracle: topics in random portions, outcomes before their requests; right after each of them."""
    chance = random.Random(seed)
    events = payment_app.make_events(seed, 60)
    seen: dict[str, list[Event]] = {topic: [] for topic in events}
    with wr.Log(tmp_path) as log:
        for topic in events:
            log.create_topic(topic, partitions=2)
        with payment_app.application(tmp_path, end=None, shards=3) as job:
            while waiting := [topic for topic in events if len(seen[topic]) < len(events[topic])]:
                topic = chance.choice(waiting)
                portion = events[topic][len(seen[topic]) :][: chance.randrange(1, 20)]
                payment_app.append(log, topic, portion)
                seen[topic] += portion
                assert job.step() is not None
                check_result(tmp_path, seen)


@pytest.mark.parametrize("point", list(DEATHS))
def test_nothing_is_lost_or_booked_twice_when_it_dies(tmp_path: Path, point: str) -> None:
    """crash: again and again, and what is committed adds up each time."""
    payment_app.fill(tmp_path, SEED, COUNT)
    for _ in range(3):
        with installed(At(point, _die, DEATHS[point])), pytest.raises(Died):
            payment_app.application(tmp_path, limits=limits(25)).run()
        assert check_conserved(tmp_path)
    with payment_app.application(tmp_path, limits=limits(25)) as job:
        job.run()
    check_result(tmp_path, payment_app.make_events(SEED, COUNT))
    raw = wr.read_log(tmp_path, "entries", end="latest").collect().to_pylist()
    assert all(row["op"] == "c" for row in raw)  # the book is only added to
    assert len({(r["payment"], r["account"], r["amount"], r["booked"]) for r in raw}) == len(raw)


def test_requests_that_are_none(tmp_path: Path) -> None:
    """oracle: of no amount or less, twice with another amount, and not readable at all."""
    with wr.Log(tmp_path) as log:
        for topic in ("requests", "outcomes", "questions"):
            log.create_topic(topic, partitions=1)
        request = {"payment": 1, "payer": "Ada", "payee": "Ben", "amount": 5, "at": 1}
        others = [{**request, "amount": 7}, {**request, "payment": 2, "amount": -9}, {"payment": 3, "amount": 1}]
        payment_app.append(log, "requests", [request, *others])
    with payment_app.application(tmp_path) as job:
        job.run()
    assert check_conserved(tmp_path) == {"Ada": -5, payment_app.IN_FLIGHT: 5}
    invalid = wr.read_log(tmp_path, "invalid", end="latest").collect().to_pylist()
    assert [(row["payment"], row["amount"]) for row in invalid] == [(2, -9)]
    unreadable = wr.read_log(tmp_path, "unreadable", end="latest").collect().to_pylist()
    assert [(row["offset"], row["field"]) for row in unreadable] == [(3, "payer")]


def test_it_runs_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """golden: what it prints; run again, no epoch is left and the tables are the same."""
    payment_app.fill(tmp_path, SEED, 40)
    payment_app.main(str(tmp_path))
    printed = capsys.readouterr().out
    assert "epoch 1: 7 accounts, together 0\n" in printed
    payment_app.main(str(tmp_path))
    assert capsys.readouterr().out == printed[printed.index("balances\n") :]


def test_an_outcome_from_a_clock_that_is_behind(tmp_path: Path) -> None:
    """oracle: a payment is not decided before it was asked for, so no account holds money that nobody has paid in."""
    events: dict[str, list[Event]] = {
        "requests": [{"payment": 1, "payer": "Ada", "payee": "Ben", "amount": 5, "at": 100}],
        "outcomes": [{"payment": 1, "outcome": "confirmed", "decided": 40}],
        "questions": [
            {"question": 2 * n + m, "account": account, "as_of": as_of}
            for n, account in enumerate(["Ada", "Ben", payment_app.IN_FLIGHT])
            for m, as_of in enumerate([70, 100])
        ],
    }
    with wr.Log(tmp_path) as log:
        for topic, rows in events.items():
            log.create_topic(topic, partitions=1)
            payment_app.append(log, topic, rows)
    with payment_app.application(tmp_path) as job:
        job.run()
    check_result(tmp_path, events)
    assert [row["balance"] for row in payment_app.now(tmp_path, "answers")] == [0, -5, 0, 5, 0, 0]
