"""Each safeguard of exactly-once over Kafka is switched off once, and a test that is there for it must then fail.

Kind: law. A check that never failed would prove nothing. Tests that are named here pass with the safeguard in place,
which the rest of the suite shows; here they run against the same broker, with one thing changed in the product.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.broker.cluster import Brokers, brokers
from tests.io import kafka_double, test_kafka_source
from tests.kafka import proxy as net
from tests.kafka import (
    test_brokers_die,
    test_cleaned,
    test_corrupt_fetch,
    test_exactly_once,
    test_failover,
    test_network,
    test_read_conformance,
    test_replay,
    test_transaction,
)
from tests.kafka.groups import test_limits
from tests.kafka.groups.job import Work
from windrow.codec import kafka_records
from windrow.errors import StateError, WindrowError
from windrow.io.kafka import fetch_wire, fetcher, ledger, received, replay, sink, source, stored, transaction
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.producer import Producer
from windrow.io.kafka.replay import KafkaReplay

Patch = pytest.MonkeyPatch
Check = Callable[[str], None]


@dataclass(frozen=True)
class Mutation:
    """`apply` switches a safeguard off; `check` is the test that sees it, given a broker."""

    what: str
    apply: Callable[[Patch], None]
    check: Check


MUTATIONS: dict[str, Mutation] = {}


def mutation(what: str, check: Check) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def add(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTATIONS[apply.__name__] = Mutation(what, apply, check)
        return apply

    return add


# -- what tests take


def lossy(test: Callable[..., None], *arguments: Any) -> Check:
    def check(broker: str) -> None:
        cluster = test_transaction.Lossy(broker)
        try:
            test(cluster, *arguments)
        finally:
            cluster.close()

    return check


@contextmanager
def _through(broker: str) -> Iterator[tuple[Cluster, net.Proxy, Cluster]]:
    with net.Proxy(broker) as proxy:
        direct, behind = Cluster(broker), Cluster(proxy.bootstrap)
        try:
            yield direct, proxy, behind
        finally:
            direct.close()
            behind.close()


def through(test: Callable[..., None], *arguments: Any) -> Check:
    def check(broker: str) -> None:
        with _through(broker) as (direct, proxy, behind):
            test(direct, proxy, behind, *arguments)

    return check


def direct(test: Callable[..., None], *arguments: Any) -> Check:
    def check(broker: str) -> None:
        cluster = Cluster(broker)
        try:
            test(cluster, *arguments)
        finally:
            cluster.close()

    return check


def scripted(test: Callable[..., None]) -> Check:
    def check(_: str) -> None:
        with kafka_double.Cluster() as cluster, tempfile.TemporaryDirectory() as folder:
            test(cluster, Path(folder))

    return check


def grouped(test: Callable[..., None]) -> Check:
    def check(broker: str) -> None:
        work = Work(broker)
        work.fill(1_000)
        with pytest.MonkeyPatch.context() as patch:
            test(work, patch)

    return check


def with_folder(test: Callable[..., None], *arguments: Any) -> Check:
    def check(broker: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            test(broker, Path(folder), *arguments)

    return check


def on_its_own(test: Callable[..., None], nodes: int = 1, settings: Mapping[str, str] | None = None) -> Check:
    """With brokers that it may kill, given to a function that calls the test."""

    def check(_: str) -> None:
        with brokers(nodes, settings=settings) as running:
            test(running)
            for node in running.nodes:
                node.kill()

    return check


@pytest.fixture(autouse=True)
def as_loud_as_before() -> Iterator[None]:
    """Whatever a check does to the logger, tests that come later hear it."""
    logger = logging.getLogger("windrow")
    level = logger.level
    yield
    logger.setLevel(level)


class _Quiet:
    def set_level(self, level: int) -> None:
        logging.getLogger("windrow").setLevel(level)


_DIES = test_exactly_once.test_a_death_at_any_step_loses_and_doubles_nothing
_LOST = test_transaction.test_a_lost_exchange_is_found_out
_ZOMBIE = test_transaction.test_a_zombie_is_fenced_and_its_records_are_never_seen
_LATE = test_network.test_an_end_that_comes_late_does_not_end_a_later_transaction
_DAMAGED = test_corrupt_fetch.test_a_damaged_batch_stops_its_partition_alone_and_nothing_spins
_HEALED = test_corrupt_fetch.test_damage_that_is_gone_when_it_is_fetched_again_changes_nothing
_GONE = test_kafka_source.test_an_offset_that_is_gone_stops_the_job_unless_told_otherwise
_ABORTED = test_read_conformance.test_only_aborted_records


# -- one transaction


def _believing(patch: Patch, *names: str) -> None:
    """Answers to these requests are taken for good ones."""
    whole = Cluster.pipelined

    def pipelined(self: Cluster, requests: Sequence[tuple[int | None, Any]], timeout_s: float) -> list[Any]:
        found = whole(self, requests, timeout_s)
        for (_, request), answer in zip(requests, found, strict=True):
            if type(request).__name__.startswith(names) and not isinstance(answer, BaseException):
                for part in _coded(answer):
                    part.error_code = 0
        return found

    patch.setattr(Cluster, "pipelined", pipelined)


def _coded(answer: Any) -> Iterator[Any]:
    if hasattr(answer, "responses"):
        yield from (part for topic in answer.responses for part in topic.partition_responses)
    elif hasattr(answer, "topics"):
        yield from (part for topic in answer.topics for part in topic.partitions)
    else:
        yield answer


@mutation(
    "what leaders answer to records is not looked at",
    lossy(test_transaction.test_a_refused_batch_commits_nothing_of_its_transaction_or_the_next, 0),
)
def answers_to_records(patch: Patch) -> None:
    _believing(patch, "Produce")


@mutation("what the coordinator answers to the end is not looked at", through(_LATE, 0, "busy"))
def answers_to_the_end(patch: Patch) -> None:
    _believing(patch, "EndTxn")


def _told(patch: Patch, there: bool) -> None:
    whole = transaction.Transactions.commit

    def commit(self: transaction.Transactions, *given: Any, **named: Any) -> Any:
        committed = named["committed"]
        return whole(self, *given, **{**named, "committed": lambda: (committed(), there)[1]})

    patch.setattr(transaction.Transactions, "commit", commit)


@mutation("in doubt nobody looks whether it was committed: it was not", lossy(_LOST, 2, True, "EndTxn"))
def doubt_means_no(patch: Patch) -> None:
    _told(patch, there=False)


@mutation("in doubt nobody looks whether it was committed: it was", lossy(_LOST, 2, False, "EndTxn"))
def doubt_means_yes(patch: Patch) -> None:
    _told(patch, there=True)


@mutation("in doubt the producer epoch stays as it is", through(_LATE, 0, "cut"))
def same_epoch_in_doubt(patch: Patch) -> None:
    patch.setattr(transaction.Transactions, "_take_back", lambda self, deadline_s, mine: None)


@mutation("after a request that was sent twice the producer epoch stays as it is", through(_LATE, 0, "busy"))
def same_epoch_after_repeats(patch: Patch) -> None:
    patch.setattr(transaction._Attempt, "__setattr__", _never_repeated)


def _never_repeated(attempt: Any, name: str, value: Any) -> None:
    object.__setattr__(attempt, name, False if name == "repeated" else value)


@mutation("who is replaced takes the transactional id back", lossy(_ZOMBIE, 2))
def zombies_take_back(patch: Patch) -> None:
    def take_back(self: transaction.Transactions, deadline_s: float, mine: Any) -> None:
        self._initialise(deadline_s, first=True)

    patch.setattr(transaction.Transactions, "_take_back", take_back)


@mutation(
    "record batches are not numbered on",
    lossy(test_transaction.test_without_trouble_every_transaction_is_sent_once, 0),
)
def same_sequence(patch: Patch) -> None:
    whole = Producer.produce

    def produce(self: Producer, places: Any, batches: Any, sequences: Mapping[Any, int]) -> Any:
        return whole(self, places, batches, dict.fromkeys(sequences, 0))

    patch.setattr(Producer, "produce", produce)


# -- the ledger


@mutation(
    "whether a later owner has left a word is not looked at",
    test_exactly_once.test_a_second_process_takes_over,
)
def owner_unread(patch: Patch) -> None:
    def always(self: ledger.KafkaLedger) -> bool:
        with contextlib.suppress(StateError):
            self._read_on()
        return True

    patch.setattr(ledger.KafkaLedger, "_is_mine", always)


def _two(patch: Patch, *, note_first: bool) -> None:
    whole = ledger.KafkaLedger._send

    def send(self: Any, token: str, value: bytes, records: Any = None, offsets: Any = ()) -> Any:
        def note() -> Any:
            return whole(self, token, value, None, offsets)

        base = note() if note_first else None
        if records:
            self._transactions.commit(records, committed=lambda: False)
        return base if base is not None else note()

    patch.setattr(ledger.KafkaLedger, "_send", send)


@mutation("results are committed before the positions that they come from", lambda broker: _DIES(broker, "kafka.ended"))
def results_first(patch: Patch) -> None:
    _two(patch, note_first=False)


@mutation("positions are committed before their results", lambda broker: _DIES(broker, "kafka.ended"))
def positions_first(patch: Patch) -> None:
    _two(patch, note_first=True)


@mutation("state is not written", lambda broker: _DIES(broker, "commit.published"))
def no_state(patch: Patch) -> None:
    patch.setattr(ledger.KafkaLedger, "_add_state", lambda self, commit, records: {})


@mutation("positions are not taken from the ledger", lambda broker: _DIES(broker, "commit.published"))
def no_positions(patch: Patch) -> None:
    whole = ledger.KafkaLedger.open

    def forgetting(self: ledger.KafkaLedger, *given: Any) -> Any:
        found = whole(self, *given)
        found.positions.clear()  # type: ignore[attr-defined]
        return found

    patch.setattr(ledger.KafkaLedger, "open", forgetting)


@mutation(
    "a sink beside another ledger does not remember its epoch",
    with_folder(test_exactly_once.test_from_kafka_into_files_and_into_another_ledger),
)
def sink_forgets_epoch(patch: Patch) -> None:
    patch.setattr(sink.KafkaSink, "_remembered", lambda self: (0, self._word))


@mutation(
    "whether another process has left its word is not looked at by a sink",
    with_folder(test_exactly_once.test_a_sink_beside_another_ledger_whose_job_is_taken_over, 0),
)
def word_unread(patch: Patch) -> None:
    whole = sink.KafkaSink._remembered

    def ours(self: sink.KafkaSink) -> tuple[int, str]:
        epoch, word = whole(self)
        return (epoch, self._word) if self._word else (epoch, word)  # until it has a word it has to read one

    patch.setattr(sink.KafkaSink, "_remembered", ours)


def _two_replays(broker: str) -> None:
    test_replay.test_another_replay_fences_the_first(broker, test_brokers_die.letters(broker))


@mutation("whether another process has left its word is not looked at by a replay", _two_replays)
def replay_word_unread(patch: Patch) -> None:
    whole = KafkaReplay._read_on

    def once(self: KafkaReplay) -> None:
        if self._transactions is None:
            whole(self)

    patch.setattr(KafkaReplay, "_read_on", once)


def _dies(own: Brokers) -> None:
    test_brokers_die.test_a_broker_that_dies_before_it_can_answer(own, 2)


@mutation("who is taken for a zombie believes it, though nobody has left a word", on_its_own(_dies))
def zombie_believed(patch: Patch) -> None:
    whole = transaction.Transactions._take_back
    patch.setattr(transaction.Transactions, "_take_back", lambda self, deadline_s, mine: whole(self, deadline_s, None))


def _left_open(own: Brokers) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_brokers_die.test_records_that_a_broker_left_open_stop_a_replay(own, patch)


def _left_open_beside(own: Brokers) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        test_brokers_die.test_records_that_a_broker_left_open_stop_a_sink_beside_another_ledger(
            own, Path(folder), patch
        )


@mutation("a replay does not look for records that a broker left open", on_its_own(_left_open))
def replay_unsettled(patch: Patch) -> None:
    patch.setattr(replay, "await_settled", lambda *given: None)


@mutation("a sink does not look for records that a broker left open", on_its_own(_left_open_beside))
def sink_unsettled(patch: Patch) -> None:
    patch.setattr(sink, "await_settled", lambda *given: None)


@mutation("records of the ledger have the same key", test_cleaned.test_a_compacted_ledger_and_changelog_lose_nothing)
def one_ledger_key(patch: Patch) -> None:
    whole = ledger.encode

    def encode(keys: Any, values: Any, *rest: Any, **options: Any) -> Any:
        note = len(values) == 1 and values[0].as_py().startswith(b"{")
        return whole(pa.array([b"ledger"], pa.binary()) if note else keys, values, *rest, **options)

    patch.setattr(ledger, "encode", encode)


def _leader_dies(three: Brokers) -> None:
    test_failover.test_after_the_death_of_a_broker_commits_go_on_soon(three, "leader")


@mutation("who leads is not looked up again", on_its_own(_leader_dies, 3, test_failover.QUICK))
def leader_kept(patch: Patch) -> None:
    whole = Cluster.leaders
    patch.setattr(Cluster, "leaders", lambda self, names, timeout_s, **_: whole(self, names, timeout_s))


# -- reading


@mutation("records that are not committed are read", _ABORTED)
def read_uncommitted(patch: Patch) -> None:
    patch.setattr(fetch_wire, "_READ_COMMITTED", 0)


@mutation("the list of aborted transactions is not looked at", _ABORTED)
def aborted_unread(patch: Patch) -> None:
    whole = kafka_records.read
    patch.setattr(kafka_records, "read", lambda b, p, s, aborted, *rest: whole(b, p, s, (), *rest))


class _Same:
    """As good as every checksum."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class _NoSums:
    @staticmethod
    def crc32c(_: Any) -> Any:
        return _Same()


@mutation("checksums are not looked at", direct(_DAMAGED, "CRC", _Quiet()))
def no_checksum(patch: Patch) -> None:
    patch.setattr(kafka_records, "crc32c", _NoSums)


@mutation("what is damaged is not fetched again", direct(_HEALED, "CRC"))
def no_second_fetch(patch: Patch) -> None:
    whole = fetcher.Fetcher._keep_rows

    def keep(self: fetcher.Fetcher, feed: Any, got: Any) -> None:
        if got.broken is not None:
            feed.broken_at = max(got.broken.offset, got.next_offset)
        whole(self, feed, got)

    patch.setattr(fetcher.Fetcher, "_keep_rows", keep)


@mutation("what is damaged is fetched again and again", direct(_DAMAGED, "CRC", _Quiet()))
def fetched_for_ever(patch: Patch) -> None:
    from windrow.io.kafka.buffer import Feed

    patch.setattr(Feed, "done", property(lambda feed: False))


def _unheld(buffer: Any, position: int, size: int, aborted: Any, wanted: int, high: int, *, whole: bool) -> Any:
    return kafka_records.read(buffer, position, size, aborted, wanted)


@mutation("what a batch says of its offsets is believed", direct(_DAMAGED, "base offset behind", _Quiet()))
def offsets_believed(patch: Patch) -> None:
    for module in (fetcher, stored, received):
        patch.setattr(module, "received", _unheld)


@mutation("what a batch says of its end is believed", direct(_HEALED, "base offset ahead"))
def ends_believed(patch: Patch) -> None:
    for module in (fetcher, stored, received):
        patch.setattr(module, "received", _unheld)


@mutation(
    "records that were deleted are passed over",
    scripted(test_kafka_source.test_an_offset_that_is_gone_stops_the_job_unless_told_otherwise),
)
def gone_in_silence(patch: Patch) -> None:
    def first(self: source.KafkaSource, feed: Any) -> int:
        place = (feed.topic, feed.partition)
        return source.list_offsets(self._cluster, [feed.topic], {place: source.EARLIEST}, 10.0)[place]

    patch.setattr(source.KafkaSource, "_gone", first)


# -- groups


@mutation(
    "positions are committed in nobody's name",
    grouped(test_limits.test_positions_are_committed_by_members_for_what_they_hold),
)
def unfenced_positions(patch: Patch) -> None:
    patch.setattr(ledger, "standing_of", lambda group, standing, member: group)


#: What a test of ours, or the product in it, ends with when the safeguard is missing.
_RED = (AssertionError, pytest.fail.Exception, WindrowError)


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_any_one_of_its_safeguards_a_test_fails(
    broker: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = MUTATIONS[name]
    monkeypatch.setattr(test_transaction, "SETTLE_S", 2.0)
    one.apply(monkeypatch)
    with pytest.raises(_RED):
        one.check(broker)
