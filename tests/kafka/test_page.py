"""The page on Kafka is true (golden, law): its code runs, and its list of rights is enough and not too long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import windrow as wr
from tests.broker.secure import SecureBroker, secured
from tests.conftest import need_broker
from tests.kafka.test_dead_letters import make, produce
from tests.test_docs import ROOT, blocks, run
from windrow.io.kafka.replay import KafkaReplay

PAGE = ROOT / "docs" / "kafka.md"
ROW = re.compile(r"^\| (.+?) \| (\w[\w, ]* on .+?) \|$", re.M)
RIGHT = re.compile(r"([\w, ]+) on (topic|group|transactional id) `([\w-]+)`")
BID = wr.schema(auction="int64")


@pytest.mark.parametrize("page", [PAGE, ROOT / "docs" / "groups.md"], ids=lambda page: page.stem)
def test_the_page_runs_and_prints_what_it_says(broker: str, page: Path) -> None:
    """golden: every block, against a real broker."""
    names: dict[str, Any] = {}
    found = blocks(page)
    code = [text.replace("localhost:9092", broker) for language, text in found if language == "python"]
    printed = [run(text, names) for text in code]
    assert printed == [text for language, text in found if language == "text"]


@dataclass(frozen=True, order=True)
class Right:
    """One ACL."""

    operation: str
    kind: str
    name: str

    def binding(self, user: str) -> Any:
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        kinds = {"topic": "TOPIC", "group": "GROUP", "transactional id": "TRANSACTIONAL_ID"}
        resource = ResourceType[kinds[self.kind]]
        return AclBinding(resource, self.name, ResourcePatternType.LITERAL, f"User:{user}", "*",
                          AclOperation[self.operation.upper()], AclPermissionType.ALLOW)  # fmt: skip


def listed() -> dict[str, set[Right]]:
    """What the page says: rights by what they are for."""
    found: dict[str, set[Right]] = {}
    for what, rights in ROW.findall(PAGE.read_text()):
        parts = [RIGHT.fullmatch(part.strip()) for part in rights.split(";")]
        assert all(parts), rights
        found[what] = {
            Right(operation.strip(), part[2], part[3]) for part in parts if part for operation in part[1].split(",")
        }
    return found


READ, COMMITTED, JOB, GROUP, FIRST, DEAD, DEAD_FIRST, ELSEWHERE, LOOK, REPLAY = range(10)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    need_broker()
    with secured(tmp_path_factory.mktemp("secure"), {"carol": "singer"}) as broker:
        yield broker


class Rights:
    """What a user may do, changed and waited for."""

    def __init__(self, secure: SecureBroker) -> None:
        from confluent_kafka.admin import AdminClient

        self._admin = AdminClient({"bootstrap.servers": secure.admin})
        self._held: set[Right] = set()

    def become(self, wanted: set[Right]) -> None:
        for binding, done in self._admin.create_acls([one.binding("carol") for one in wanted - self._held] or [
            Right("Describe", "topic", "nothing").binding("carol")
        ]).items():  # fmt: skip
            assert binding is not None
            done.result(20)
        for one in self._held - wanted:
            (done,) = self._admin.delete_acls([self._filter(one)]).values()
            done.result(20)
        self._held = set(wanted)

    def _filter(self, one: Right) -> Any:
        from confluent_kafka.admin import AclBindingFilter

        made = one.binding("carol")
        return AclBindingFilter(made.restype, made.name, made.resource_pattern_type, made.principal, made.host,
                                made.operation, made.permission_type)  # fmt: skip

    def without_topics(self, names: list[str]) -> None:
        for done in self._admin.delete_topics(names).values():
            try:
                done.result(20)
            except Exception as error:  # it was not there
                assert "UNKNOWN_TOPIC" in str(error)


def soon(action: Callable[[], bool], within_s: float = 15.0) -> bool:
    """Whether it comes true: brokers learn of rights a moment later. Nobody is kept waiting for an answer."""
    deadline_s = time.monotonic() + within_s
    while not action():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def works(action: Callable[[], None]) -> bool:
    try:
        action()
    except wr.BrokerError as error:
        assert re.search(r"ACL|may not be seen|not allowed|may not", str(error)), error
        return False
    return True


def stopped(action: Callable[[], None]) -> bool:
    return not works(action)


@pytest.mark.slow
def test_the_rights_on_the_page_are_enough_and_none_is_too_many(secure: SecureBroker, tmp_path: Path) -> None:
    """law: each use runs with the rights that the page lists for it, and stops with a sentence without any of them."""
    page = list(listed().values())
    options = secure.options("SCRAM-SHA-512", "carol", "singer")
    make(secure.admin, "bids", **{"retention.ms": "-1"})
    produce(secure.admin, "bids", [(b'{"auction": 1}', []), (b"bad", [])])
    commit_offset(secure.admin, "payments", "bids")
    rights = Rights(secure)
    wr.Log(tmp_path / "log").close()

    def bids(bootstrap: str = secure.sasl, **more: Any) -> wr.Stream:
        kafka = options if bootstrap == secure.sasl else None
        return wr.read_kafka(bootstrap, "bids", schema=BID, kafka=kafka, **({"on_error": "skip"} | more))

    def read() -> None:
        assert bids(end="latest").collect().num_rows

    def read_committed() -> None:
        bids(end="latest", start="committed", group="payments").collect()

    def job(bootstrap: str = secure.sasl, create: bool = False, group: bool = False, **more: Any) -> None:
        kafka = options if bootstrap == secure.sasl else None
        counts = bids(bootstrap, partitioned_by="auction", **more).group_by("auction").agg(n=wr.count())
        sink = counts.write_kafka(bootstrap, "hot-auctions", create=create, kafka=kafka, partitions=1)
        with wr.job(sink, name="hot", shards=1, group=group) as made:
            made.run(until="caught up", timeout=20)

    def first(**more: Any) -> None:
        rights.without_topics(["hot-ledger", "hot-changelog", "hot-auctions"])
        job(create=True, **more)

    def again(group: bool = False) -> None:
        produce(secure.admin, "bids", [(b'{"auction": 1}', []), (b"bad", [])])
        job(group=group)

    def elsewhere() -> None:
        produce(secure.admin, "bids", [(b'{"auction": 1}', [])])
        sink = bids().write_kafka(secure.sasl, "hot-auctions", kafka=options, name="out")
        with wr.job(sink, name="hot", ledger=tmp_path / "log") as made:
            made.run(until="caught up")

    def look() -> None:
        replay = KafkaReplay(secure.sasl, "bids-dead", settings(options))
        try:
            assert [one.num_rows for one in replay.letters()] and replay.letter(0, 0).num_rows == 1
        finally:
            replay.close()

    def send() -> None:
        replay = KafkaReplay(secure.sasl, "bids-dead", settings(options))
        try:
            for letters in replay.letters():
                replay.send(letters, None)
        finally:
            replay.close()

    def dead(create: bool = False) -> dict[str, Any]:
        return {"dead_letter": "bids-dead", "create_dead_letter": create, "on_error": "dead_letter"}

    def anew(action: Callable[[], None], topic: str) -> Callable[[], None]:
        def do() -> None:
            rights.without_topics([topic])
            action()

        return do

    check(rights, set(), page[READ], read)
    check(rights, page[READ], page[COMMITTED], read_committed)
    job(secure.admin, create=True)
    check(rights, set(), page[JOB], again)
    rights.without_topics(["hot-ledger", "hot-changelog", "hot-auctions"])
    job(secure.admin, create=True, group=True)
    check(rights, set(), page[GROUP], lambda: again(group=True))
    check(rights, page[READ], page[ELSEWHERE], elsewhere)
    check(rights, page[JOB], page[FIRST], first)
    whole = page[JOB] | page[FIRST]
    check(rights, whole | page[DEAD], page[DEAD_FIRST], anew(lambda: first(**dead(True)), "bids-dead"))
    make(secure.admin, "bids-dead")
    check(rights, whole, page[DEAD], lambda: first(**dead()))
    memory = Right("Read", "topic", "bids-dead-replayed")  # of which there is nothing to read the first time
    check(rights, {memory}, page[REPLAY] - {memory}, anew(send, "bids-dead-replayed"))
    check(rights, page[REPLAY], {memory}, send)
    check(rights, set(), page[LOOK], look)


def check(rights: Rights, given: set[Right], tried: set[Right], action: Callable[[], None]) -> None:
    """With all of `given` and `tried` it runs, without any of `tried` it does not."""
    rights.become(given | tried)
    assert soon(lambda: works(action)), (given, tried)
    for one in sorted(tried):
        rights.become((given | tried) - {one})
        assert soon(lambda: stopped(action)), f"{one} is not needed"
    rights.become(set())


def settings(options: dict[str, Any]) -> Any:
    from windrow.io.kafka.options import kafka_options

    return kafka_options(options).settings


def commit_offset(bootstrap: str, group: str, topic: str) -> None:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    consumer.close()
