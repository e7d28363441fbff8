"""One transaction for each epoch: a short conversation with the brokers whose outcome is always known.

Two protocols. Where the cluster has ``transaction.version`` 2 (KIP-890, Kafka 4.0) partitions join a transaction by
being written to, and every end raises the producer epoch, so that nothing that is delayed can fall into a later
transaction. Before that, partitions and groups are added by requests of their own, and the producer epoch is raised
by us after every transaction in which anything was asked twice.

Any answer that leaves a doubt (none in time, a broken connection, a sequence that does not fit) ends the attempt: the
producer id is initialised again, which aborts what is open or finishes what was being committed, and then the caller's
`committed` looks whether the records are there. If not, the whole transaction is sent again with the new producer
epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from windrow.codec.kafka_encode import EncodedBatch
from windrow.errors import BrokerError, FencedError
from windrow.io.kafka import answers
from windrow.io.kafka.client import Cluster, NotReachedError
from windrow.io.kafka.producer import GroupOffsets, Place, Producer
from windrow.progress.faults import reach

Records = Mapping[Place, Sequence[EncodedBatch]]

log = logging.getLogger(__name__)

__all__ = ["GroupOffsets", "Place", "Records", "Transactions"]

_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.2
_ATTEMPT_S = 30.0  # one try; the transaction's own timeout is longer, so that brokers do not abort a try that runs
_TELL_S, _TELL_AGAIN_S = 3.0, 15.0  # how long a commit stands still before that is said, and said again
_MAX_SEQUENCE = 2**31
#: What a request may carry; brokers take 100 MiB (``socket.request.max.bytes``).
_MAX_REQUEST_BYTES = 16 << 20
#: Answers about the producer's own standing that a fresh producer epoch heals, unless somebody else has taken over.
_DOUBTS = frozenset({45, 46, 47, 48, 49, 59, 90, 120})


class _Doubt(Exception):
    """An attempt ended and it is not known how far it came."""


class _Standstill:
    """Says, now and then, why a commit that takes long goes on taking long."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._say_s = time.monotonic() + _TELL_S

    def note(self, trouble: str) -> None:
        if time.monotonic() >= self._say_s:
            self._say_s = time.monotonic() + _TELL_AGAIN_S
            log.warning("%s: nothing is committed at the moment, it is tried again: %s", self._whose, trouble)


@dataclass(slots=True)
class _Attempt:
    deadline_s: float
    standstill: _Standstill
    trouble: str = ""  # why what was asked last has to be asked again
    after_doubt: bool = False  # who leads and coordinates is looked up again: it may be another by now
    repeated: bool = False  # anything was asked twice
    base_offsets: dict[Place, int] = field(default_factory=dict)

    def left_s(self) -> float:
        left = self.deadline_s - time.monotonic()
        if left <= 0:
            raise _Doubt(f"it took too long; {self.trouble}" if self.trouble else "it took too long")
        return left

    def pause(self, pause_s: float, trouble: str) -> None:
        """Wait before something is asked again; `trouble`: why."""
        self.trouble = trouble
        self.standstill.note(trouble)
        time.sleep(min(pause_s, self.left_s()))


class Transactions:
    """The transactions of one transactional id, one after the other. Called from one thread at a time.

    `timeout_ms` is how long the brokers let a transaction lie open before they abort it; brokers refuse more than
    their ``transaction.max.timeout.ms`` (15 minutes).
    """

    def __init__(
        self, cluster: Cluster, transactional_id: str, *, timeout_ms: int = 60_000, protocol: int | None = None
    ) -> None:
        self.transactional_id = transactional_id
        self.attempts = 0  # transactions sent, for metrics and tests
        self._protocol = protocol
        self._cluster = cluster
        self._timeout_ms = timeout_ms
        self._producer = Producer(transactional_id)
        self._sequences: dict[Place, int] = {}
        self._fenced = ""
        self._standstill = _Standstill(self._named)

    @property
    def producer(self) -> tuple[int, int]:
        """Producer id and producer epoch."""
        return self._producer.id, self._producer.epoch

    @property
    def newer(self) -> bool:
        """Whether the protocol is that of KIP-890."""
        return self._producer.newer

    def open(self, timeout_s: float) -> None:
        """Take the transactional id over: whoever had it is fenced, and what it left open is aborted.

        Raises `BrokerError` when there is no coordinator or no right to use the id.
        """
        deadline_s = time.monotonic() + timeout_s
        version = (
            self._protocol if self._protocol is not None else self._cluster.finalized("transaction.version", timeout_s)
        )
        self._producer = replace(self._producer, newer=version >= 2)
        self._initialise(deadline_s, first=True)

    def commit(
        self,
        records: Records,
        offsets: Sequence[GroupOffsets] = (),
        *,
        timeout_s: float = 120.0,
        committed: Callable[[], bool],
        mine: Callable[[], bool] | None = None,
    ) -> dict[Place, int]:
        """All of `records` and `offsets` or nothing; committed on return. Gives the base offset of each first batch.

        `committed` is asked in doubt, when nothing of ours is open. `mine`: whether no other process has said, where
        it would be seen, that it has taken over. It is asked when the coordinator says so, which it also does to the
        rightful owner: it forgets the producer epoch before when it is restarted, so that whoever has not heard of
        the last one looks like a zombie (`TransactionLog` keeps one producer epoch).

        The base offsets are empty when it was `committed` that said so. Raises `FencedError` when another process has
        the transactional id or the group, and `BrokerError` when nothing was committed and trying again would not help,
        or not within `timeout_s`. When even that could not be found out the message says so.
        """
        self._check()
        self._standstill = _Standstill(self._named)
        deadline_s = time.monotonic() + timeout_s
        reason = ""
        while True:
            until_s = min(deadline_s, time.monotonic() + _ATTEMPT_S)
            attempt = _Attempt(until_s, self._standstill, after_doubt=bool(reason))
            self.attempts += 1
            try:
                self._run(attempt, records, offsets)
            except FencedError as error:
                self._fenced = str(error)
                raise
            except _Doubt as doubt:
                reason = str(doubt)
            except BrokerError:
                # leave nothing open; it is committed all the same when only what follows the end has failed
                if self._recover(deadline_s, committed, mine):
                    return {}
                raise
            else:
                return attempt.base_offsets
            if self._recover(deadline_s, committed, mine, reason):
                return {}
            if time.monotonic() >= deadline_s:
                raise BrokerError(f"{self._named}: nothing was committed within {timeout_s:g} s: {reason}")

    # -- one attempt

    def _run(self, attempt: _Attempt, records: Records, offsets: Sequence[GroupOffsets]) -> None:
        reach("kafka.begin")
        if not self.newer:
            self._add(attempt, records, offsets)
            reach("kafka.added")
        self._produce(attempt, records)
        reach("kafka.produced")
        for group in offsets:
            self._send_offsets(attempt, group)
        reach("kafka.offsets")
        self._end(attempt)
        reach("kafka.ended")
        if not self.newer and attempt.repeated:
            # a request that was sent twice may still be on its way: nothing of it may fall into the next transaction
            try:
                self._initialise(time.monotonic() + _ATTEMPT_S)
            except FencedError as error:
                raise _Doubt(str(error)) from error

    def _add(self, attempt: _Attempt, records: Records, offsets: Sequence[GroupOffsets]) -> None:
        if records:
            self._coordinated(
                attempt,
                lambda: self._producer.add_partitions(records),
                _worst_added,
                "partitions cannot be added to the transaction",
            )
        for group in offsets:
            self._coordinated(
                attempt,
                lambda group=group: self._producer.add_group(group.group),  # type: ignore[misc]
                lambda answer: answer.error_code,
                f"group {group.group!r} cannot be added to the transaction",
            )

    def _produce(self, attempt: _Attempt, records: Records) -> None:
        left: dict[Place, list[EncodedBatch]] = {place: list(batches) for place, batches in records.items() if batches}
        sequences = {place: 0 if self.newer else self._sequences.get(place, 0) for place in left}
        while left:
            round_ = {place: batches[0] for place, batches in left.items()}
            self._produce_round(attempt, round_, sequences)
            reach("kafka.partly_produced")
            for place, batch in round_.items():
                sequences[place] = (sequences[place] + batch.count) % _MAX_SEQUENCE
                del left[place][0]
            left = {place: batches for place, batches in left.items() if batches}
        if not self.newer:
            self._sequences.update(sequences)

    def _produce_round(
        self, attempt: _Attempt, batches: Mapping[Place, EncodedBatch], sequences: Mapping[Place, int]
    ) -> None:
        """One batch for each partition, all brokers at once; asked again only where a broker took nothing."""
        left, pause_s, refresh = dict(batches), _PAUSE_S, attempt.after_doubt
        while left:
            leaders = self._leaders({topic for topic, _ in left}, attempt, refresh)
            requests, asked = self._requests(left, sequences, leaders)
            codes, away = dict.fromkeys(left, 5), ""  # no leader at the moment
            for topic, _ in left:
                if refresh and topic not in leaders:
                    raise BrokerError(f"{self._named}: there is no topic {topic!r}; create it, or say create=True")
            for places, answer in zip(asked, self._cluster.pipelined(requests, attempt.left_s()), strict=True):
                if isinstance(answer, NotReachedError):
                    away = str(answer)  # by now another may lead
                    continue
                if isinstance(answer, BrokerError):
                    raise _Doubt(str(answer)) from answer
                said = {
                    (topic.name, part.index): part for topic in answer.responses for part in topic.partition_responses
                }
                for place in places:
                    part = said.get(place)
                    codes[place] = part.error_code if part is not None else -1
                    if part is not None and not part.error_code:
                        attempt.base_offsets.setdefault(place, part.base_offset)
            for place, code in codes.items():
                if not code:
                    del left[place]
                elif code not in answers.RETRIABLE:
                    self._refused(code, f"topic {place[0]!r}, partition {place[1]}", place[0])
            if left:
                attempt.repeated = refresh = True
                (topic, number), code = next((place, codes[place]) for place in left)
                attempt.pause(
                    pause_s, away or f"topic {topic!r}, partition {number}: the brokers say {answers.name(code)}"
                )
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _leaders(self, names: Set[str], attempt: _Attempt, refresh: bool) -> Mapping[str, Mapping[int, int]]:
        try:
            return self._cluster.leaders(names, attempt.left_s(), refresh=refresh)
        except answers.DeniedError:
            raise
        except BrokerError as error:
            raise _Doubt(str(error)) from error

    def _requests(
        self,
        batches: Mapping[Place, EncodedBatch],
        sequences: Mapping[Place, int],
        leaders: Mapping[str, Mapping[int, int]],
    ) -> tuple[list[tuple[int | None, Any]], list[list[Place]]]:
        groups: dict[int, list[list[Place]]] = {}
        sizes: dict[int, int] = {}
        for place, batch in batches.items():
            node = leaders.get(place[0], {}).get(place[1])
            if node is None:
                continue
            lists = groups.setdefault(node, [[]])
            if lists[-1] and sizes.get(node, 0) + batch.nbytes > _MAX_REQUEST_BYTES:
                lists.append([])
                sizes[node] = 0
            lists[-1].append(place)
            sizes[node] = sizes.get(node, 0) + batch.nbytes
        requests: list[tuple[int | None, Any]] = []
        asked: list[list[Place]] = []
        for node, lists in groups.items():
            for places in lists:
                requests.append((node, self._producer.produce(places, batches, sequences)))
                asked.append(places)
        return requests, asked

    def _send_offsets(self, attempt: _Attempt, offsets: GroupOffsets) -> None:
        current: GroupOffsets | None = offsets
        while current is not None:
            group = current
            answer = self._coordinated(
                attempt,
                lambda group=group: self._producer.commit_offsets(group),  # type: ignore[misc]
                _worst_position,
                f"positions of group {group.group!r} cannot be committed",
                kind="group",
                key=group.group,
                handed_on=answers.REGROUPED if group.renewed is not None else frozenset(),
            )
            if not _worst_position(answer) or group.renewed is None:
                return
            current = group.renewed(attempt.left_s())
        raise _Doubt(f"group {offsets.group!r} has come to no new generation")

    def _end(self, attempt: _Attempt) -> None:
        answer = self._coordinated(
            attempt,
            lambda: self._producer.end(committed=True),
            lambda answer: answer.error_code,
            "the transaction cannot be committed",
        )
        if self.newer:
            if answer.producer_id < 0 or (answer.producer_id, answer.producer_epoch) == self.producer:
                raise _Doubt("the coordinator did not raise the producer epoch")
            self._given(answer)

    # -- the coordinator

    def _coordinated(
        self,
        attempt: _Attempt,
        request: Callable[[], Any],
        code_of: Callable[[Any], int],
        what: str,
        *,
        kind: str = "transaction",
        key: str | None = None,
        handed_on: Set[int] = frozenset(),
    ) -> Any:
        """Ask a coordinator until it takes the question; anything but a plain refusal to listen is a doubt.

        Answers with a code of `handed_on` are the caller's.
        """
        pause_s, refresh = _PAUSE_S, attempt.after_doubt
        key = key if key is not None else self.transactional_id
        while True:
            node = self._coordinator(attempt, kind, key, refresh)
            (answer,) = self._cluster.pipelined([(node, request())], attempt.left_s())
            if isinstance(answer, NotReachedError):
                refresh = True  # by now another may coordinate
                attempt.pause(pause_s, str(answer))
                continue
            if isinstance(answer, BrokerError):
                raise _Doubt(str(answer)) from answer
            code = code_of(answer)
            if not code or code in handed_on:
                return answer
            if code not in answers.RETRIABLE:
                self._refused(code, what, key)
            refresh = code in answers.MOVED
            attempt.repeated = attempt.repeated or code != answers.CONCURRENT_TRANSACTIONS
            attempt.pause(pause_s, f"{what}: the brokers say {answers.name(code)}")
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _coordinator(self, attempt: _Attempt, kind: str, key: str, refresh: bool) -> int:
        try:
            return self._cluster.coordinator(kind, key, attempt.left_s(), refresh=refresh)
        except (FencedError, answers.DeniedError):
            raise
        except BrokerError as error:
            raise _Doubt(str(error)) from error

    def _refused(self, code: int, what: str, resource: str) -> NoReturn:
        if code in _DOUBTS:
            raise _Doubt(f"{what}: the brokers say {answers.name(code)}")
        raise answers.error(code, f"{self._named}: {what}", resource)

    # -- the producer id

    def _recover(
        self,
        deadline_s: float,
        committed: Callable[[], bool],
        mine: Callable[[], bool] | None,
        reason: str = "",
    ) -> bool:
        """Bring what is open to its end and find out whether it was committed."""
        reach("kafka.doubt")
        deadline_s = max(deadline_s, time.monotonic() + _ATTEMPT_S)
        try:
            if not self.newer:
                self._abort(deadline_s)
            self._take_back(deadline_s, mine)
            reach("kafka.recovered")
            return committed()
        except FencedError as error:
            self._fenced = str(error)
            raise
        except BrokerError as error:
            self._fenced = "its last transaction has an unknown outcome"
            raise BrokerError(
                f"{self._named}: whether the last transaction was committed could not be found out ({error}); "
                f"a restart finds out. What happened first: {reason or 'see above'}"
            ) from error

    def _abort(self, deadline_s: float) -> None:
        """End what is open, on the older protocol, before the producer id is initialised again.

        Brokers before 4.0 (seen with 3.9.2) fence whoever initialises while its transaction is open, and then refuse
        the producer epoch that it has in hand as a zombie's. Where nothing is open, or it was committed, they say so.
        """
        refresh, pause_s = False, _PAUSE_S
        while time.monotonic() < deadline_s:
            left_s = max(deadline_s - time.monotonic(), 0.01)
            request = self._producer.end(committed=False)
            try:
                node = self._cluster.coordinator("transaction", self.transactional_id, left_s, refresh=refresh)
                code = self._cluster.request(node, request, min(left_s, 10.0)).error_code
            except answers.DeniedError:
                raise
            except BrokerError:
                refresh = True
            else:
                if code not in answers.RETRIABLE:
                    return  # ended, nothing to end, or another's: what follows tells
                refresh = code in answers.MOVED
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _take_back(self, deadline_s: float, mine: Callable[[], bool] | None) -> None:
        try:
            self._initialise(deadline_s)
        except FencedError:
            if mine is None or not mine():
                raise
            self._initialise(max(deadline_s, time.monotonic() + _ATTEMPT_S), first=True)

    def _initialise(self, deadline_s: float, *, first: bool = False) -> None:
        """A new producer epoch. With the one we have in hand, so that a zombie is refused (KIP-360)."""
        trouble, refresh, pause_s = "", True, _PAUSE_S
        while time.monotonic() < deadline_s:
            left_s = max(deadline_s - time.monotonic(), 0.01)
            request = self._producer.initialise(self._timeout_ms, first=first)
            try:
                node = self._cluster.coordinator("transaction", self.transactional_id, left_s, refresh=refresh)
                answer = self._cluster.request(node, request, min(left_s, 10.0))
            except (FencedError, answers.DeniedError):
                raise
            except BrokerError as error:
                if left_s > 1 or not trouble:  # that the time is over says less than what was heard before
                    trouble = str(error)
                refresh = True
            else:
                if not answer.error_code:
                    self._given(answer)
                    self._sequences.clear()
                    return
                if answer.error_code not in answers.RETRIABLE:
                    self._cannot_initialise(answer.error_code)
                trouble, refresh = answers.name(answer.error_code), answer.error_code in answers.MOVED
            self._standstill.note(f"no producer id: {trouble}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise BrokerError(f"{self._named}: no producer id within the time given: {trouble}")

    def _cannot_initialise(self, code: int) -> NoReturn:
        what = f"{self._named}: no producer id"
        if code == 50:
            what = f"{what}; the brokers' transaction.max.timeout.ms is below {self._timeout_ms} ms"
        if code in answers.FENCED and not self.newer:
            what = f"{what} (older brokers also say so when they gave up a transaction open for {self._timeout_ms} ms)"
        raise answers.error(code, what, self.transactional_id)

    def _given(self, answer: Any) -> None:
        self._producer = replace(self._producer, id=answer.producer_id, epoch=answer.producer_epoch)

    def _check(self) -> None:
        if self._producer.id < 0:
            raise BrokerError(f"{self._named} is not open")
        if self._fenced:
            raise FencedError(f"{self._named} cannot go on: {self._fenced}")

    @property
    def _named(self) -> str:
        return f"transactional id {self.transactional_id!r}"


def _worst_added(answer: Any) -> int:
    return _worst(
        part.partition_error_code
        for topic in answer.results_by_topic_v3_and_below
        for part in topic.results_by_partition
    )


def _worst_position(answer: Any) -> int:
    return _worst(part.error_code for topic in answer.topics for part in topic.partitions)


def _worst(codes: Any) -> int:
    """The code that decides: one that cannot be healed before one that can, 0 when there is none."""
    found = [code for code in codes if code]
    # 55: not attempted, because of another partition
    return min(found, key=lambda code: (code == 55, code in answers.RETRIABLE), default=0)
