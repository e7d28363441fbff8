"""Payments as event streaming: requests become debits and credits, and those balances, in which no money is ever lost.

    python examples/payment_app.py             # in a folder of its own, which is removed
    python examples/payment_app.py my-bank     # stop it, run it again: it goes on where it was

See docs/payment_app.md.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl

import windrow as wr

TIME = wr.field("timestamp", format="ms", required=True)
NUMBER = wr.field("int64", required=True)
TEXT = wr.field("string", required=True)
REQUEST = wr.schema(payment=NUMBER, payer=TEXT, payee=TEXT, amount=NUMBER, at=TIME)
OUTCOME = wr.schema(payment=NUMBER, outcome=TEXT, decided=TIME)
QUESTION = wr.schema(question=NUMBER, account=TEXT, as_of=TIME)

#: The account in which money is while it belongs to nobody.
IN_FLIGHT = "in flight"


def payments(requests: wr.Stream, outcomes: wr.Stream) -> wr.Stream:
    """A Table of all payments with their `state`: in flight, confirmed or refused.

    A request that was sent twice is one payment, and the first outcome of it counts.
    """
    asked = requests.filter(pl.col("amount") > 0).unique("payment")
    return asked.join(outcomes.unique("payment"), "payment", "left").with_columns(
        state=pl.col("outcome").fill_null(IN_FLIGHT), decided=pl.max_horizontal("at", "decided")
    )


def entries(paid: wr.Stream) -> wr.Stream:
    """Debits (below zero) and credits, each with the time from which it counts; those of a payment add up to zero."""
    decided = paid.filter(pl.col("state") != IN_FLIGHT)
    receiver = pl.when(pl.col("state") == "confirmed").then(pl.col("payee")).otherwise(pl.col("payer"))
    amount = pl.col("amount")
    return _entry(paid, pl.col("payer"), -amount, "at").union(
        _entry(paid, pl.lit(IN_FLIGHT), amount, "at"),
        _entry(decided, pl.lit(IN_FLIGHT), -amount, "decided"),
        _entry(decided, receiver, amount, "decided"),
    )


def _entry(paid: wr.Stream, account: pl.Expr, amount: pl.Expr, time: str) -> wr.Stream:
    # Columns of a union have one type: the cast gives a column as it came the type that polars gives computed text.
    return paid.select("payment", account=account.cast(pl.String), amount=amount, booked=time)


def balances(booked: wr.Stream) -> wr.Stream:
    """A Table with a row for each account."""
    return booked.group_by("account").agg(balance=wr.sum("amount"), entries=wr.count())


def balances_as_of(questions: wr.Stream, booked: wr.Stream) -> wr.Stream:
    """What an account had at a time, a Table: an entry that comes late for that time corrects the answer."""
    then = questions.join(booked, "account", "left", where=pl.col("booked") <= pl.col("as_of"))
    return (
        then.group_by("question", "account", "as_of")
        .agg(balance=wr.sum("amount"))
        .with_columns(balance=pl.col("balance").fill_null(0))
    )


def application(folder: str | Path, end: Literal["latest"] | None = "latest", **options: Any) -> wr.Job:
    """All of it as one job over the topics of a log: an epoch commits both sides of every entry, or neither."""
    requests = wr.read_log(folder, "requests", schema=REQUEST, end=end, dead_letter="unreadable")
    outcomes = wr.read_log(folder, "outcomes", schema=OUTCOME, end=end, dead_letter="unreadable")
    questions = wr.read_log(folder, "questions", schema=QUESTION, end=end, dead_letter="unreadable")
    paid = payments(requests, outcomes)
    booked = entries(paid)
    of_states = paid.group_by("state").agg(payments=wr.count(), amount=wr.sum("amount"))
    return wr.job(
        booked.write_log(folder, "entries", changes="log"),
        balances(booked).write_log(folder, "balances", changes="log"),
        of_states.write_log(folder, "states", changes="log"),
        balances_as_of(questions, booked).write_log(folder, "answers", changes="log"),
        requests.filter(pl.col("amount") <= 0).write_log(folder, "invalid"),
        name="payments",
        **options,
    )


def now(folder: str | Path, topic: str) -> list[dict[str, Any]]:
    """The rows that there are, by a topic with all changes."""
    changes = pl.from_arrow(wr.read_log(folder, topic, end="latest").collect())
    assert isinstance(changes, pl.DataFrame)
    columns = [name for name in changes.columns if name != "op"]
    times = pl.when(pl.col("op") == "c").then(1).otherwise(-1).sum()
    return (
        changes.group_by(columns).agg(times=times).filter(pl.col("times") > 0).select(columns).sort(columns).to_dicts()
    )


def make_events(seed: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """Topic -> events: the bank fills the accounts; some requests come twice, some outcomes never."""
    chance = random.Random(seed)
    names = ["Ada", "Ben", "Cleo", "Dan", "Eve"]
    deposits = [
        {"payment": n, "payer": "bank", "payee": name, "amount": 100_000, "at": n} for n, name in enumerate(names)
    ]
    made: dict[str, list[dict[str, Any]]] = {"requests": deposits, "outcomes": [], "questions": []}
    for number in range(len(names), count):
        payer, payee = chance.sample(names, 2)
        made["requests"].append(
            {"payment": number, "payer": payer, "payee": payee, "amount": chance.randrange(500), "at": number * 10}
        )
    for request in list(made["requests"]):
        at = int(request["at"]) + chance.randrange(200)
        if chance.random() < 0.05:
            made["requests"].append(request)
        if chance.random() < 0.9:
            outcome = chance.choice(["confirmed"] * 9 + ["refused"])
            made["outcomes"].append({"payment": request["payment"], "outcome": outcome, "decided": at})
    for number, name in enumerate([*names, IN_FLIGHT, "bank"] * 3):
        made["questions"].append({"question": number, "account": name, "as_of": (number // 7 + 1) * count * 10 // 3})
    return made


def append(log: wr.Log, topic: str, events: list[dict[str, Any]]) -> None:
    """Events as JSON, those of a payment in one partition and so in their order."""
    keys = [str(event.get("payment", event.get("question"))).encode() for event in events]
    log.append(topic, [json.dumps(event).encode() for event in events], keys=keys)


def fill(folder: str | Path, seed: int = 1, count: int = 2_000) -> None:
    """The topics, with events; a folder that has them stays as it is."""
    with wr.open_log(folder) as log:
        if any(topic.name == "requests" for topic in log.topics()):
            return
        for topic, events in make_events(seed, count).items():
            log.create_topic(topic, partitions=2)
            append(log, topic, events)


def main(folder: str) -> None:
    fill(folder)
    with application(folder, limits=wr.Limits(epoch_rows=300)) as job:
        while (report := job.step()) is not None:
            there = now(folder, "balances")
            print(f"epoch {report.epoch}: {len(there)} accounts, together {sum(row['balance'] for row in there)}")
    for topic in ("balances", "states", "answers"):
        print(topic, pl.DataFrame(now(folder, topic)), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with TemporaryDirectory() as temporary:
            main(temporary)
