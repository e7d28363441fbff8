"""A process as a member of a consumer group: joins, says that it lives, hears which partitions are its own.

Kafka's classic group protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), cooperative (KIP-429) and with static
members (KIP-345), in a thread of its own over kafka-python's connections. kafka-python's consumer is not used for it:
it gives partitions back in the thread that sends heartbeats, deals partitions of two topics apart, and puts -1 for the
generation when it was thrown out, which brokers take for a commit that no group stands behind.

A process can go on with what it holds while others come and go. It has a `life` from the time it is let in until it is
lost (its session expired, it was too slow, its instance was taken over): what was begun in one life is worth nothing in
the next, and can commit nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windrow.errors import BrokerError, FencedError
from windrow.io.kafka import answers, topics
from windrow.io.kafka.assignment import Claim, assign, assignment, claim_of, parts_of, subscription
from windrow.io.kafka.client import Cluster, release, shared
from windrow.io.kafka.group_requests import GroupRequests
from windrow.io.kafka.options import Waits
from windrow.io.kafka.standing import Member
from windrow.progress.faults import reach
from windrow.progress.group import View

log = logging.getLogger(__name__)

_ILLEGAL_GENERATION, _OTHER_PROTOCOL, _UNKNOWN_MEMBER = 22, 23, 25
_REBALANCING, _MEMBER_ID_NEEDED, _FENCED_INSTANCE = 27, 79, 82
_PAUSE_S = 0.1
_ANSWER_S = 10.0
_UNREACHABLE_S = 60.0
_GATHER_S = 1.0  # how long what was given back waits for the rest before the group is asked again


class _Lost(Exception):
    """The brokers do not know this member any more."""


class Membership:
    """This process in the group `group`, whose members share the partitions of `topics` by number.

    Used by one thread, besides `current` and `renewed`. The thread has to call `alive` more often than
    ``waits.rebalance_timeout_ms``, and to `give_back` within that time what is not assigned to it any more, or the
    process leaves the group and loses what it holds. Raises `BrokerError` when there is no group to be had, and
    `FencedError` when another process came under the same `instance`.
    """

    def __init__(
        self,
        bootstrap: str,
        settings: Mapping[str, Any] | None,
        group: str,
        topics: Sequence[str],
        *,
        instance: str | None = None,
        waits: Waits | None = None,
        refresh_s: float = 30.0,
    ) -> None:
        self.group = group
        self._topics = list(topics)
        self._instance = instance
        self._wire = GroupRequests(group, instance)
        self._waits = waits or Waits()
        self._refresh_s = refresh_s
        self._shared = shared(bootstrap, settings)
        # a broker answers on a connection in turn, and to JoinGroup when all have joined: heartbeats have their own
        self._cluster = Cluster(bootstrap, settings)
        self._changed = threading.Condition()
        self._closing = False  # the thread ends
        self._closed = False
        self._failure: BaseException | None = None
        self._life = 1
        self._lost_why = ""
        self._member_id = ""
        self._generation = -1
        self._member = False  # joined, and told what is ours
        self._leads = False
        self._count = 0  # of the partitions when they were dealt
        self._assigned: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        self._joins = True
        self._poked = False
        self._given_back_s = 0.0  # when the first of what the group does not know of was given back
        self._unwanted_s = 0.0  # since when something is held that is not ours any more
        self._alive_s = time.monotonic()
        self._counted_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"windrow-group-{group}", daemon=True)
        self._thread.start()

    # -- for the thread that runs the job

    def view(self) -> View:
        """What there is to do. Raises what has ended the membership for good."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            settled = self._member and not self._joins and self._held == self._assigned
            return View(self._life, self._assigned, self._held, settled)

    def alive(self) -> None:
        """Say that the work goes on."""
        with self._changed:
            self._alive_s = time.monotonic()
            self._changed.notify_all()

    def give_back(self, part: int, life: int) -> None:
        """Say that nothing is done with this partition any more: it is committed and closed, or given up."""
        with self._changed:
            if life != self._life or part not in self._held:
                return
            self._held -= {part}
            self._given_back_s = self._given_back_s or time.monotonic()
            if part in self._assigned:  # not asked for, but it does not go well here
                self._assigned -= {part}
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Return when something has changed, or after the time."""
        with self._changed:
            before = (self._life, self._assigned, self._held, self._failure)
            self._changed.wait_for(lambda: (self._life, self._assigned, self._held, self._failure) != before, timeout_s)

    def close(self) -> None:
        """Leave the group, unless as a static member, who may come back before its session ends."""
        with self._changed:
            if self._closed:
                return
            self._closed = self._closing = True
            member_id, self._member = self._member_id, False
            self._changed.notify_all()
        try:
            if member_id and self._instance is None:
                self._leave(member_id)
        finally:
            self._cluster.close()  # ends what the thread waits for
            self._thread.join(5.0)
            release(self._shared)

    # -- for the ledgers

    def current(self, life: int) -> Member:
        """Who this process is. Raises `FencedError` when `life` is over."""
        with self._changed:
            self._check(life)
            return Member(self._generation, self._member_id, self._instance)

    def renewed(self, life: int, stale: Member, timeout_s: float) -> Member | None:
        """`current`, once its generation is another; None when it is not within the time."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()

            def moved() -> bool:
                self._check(life)
                return self._generation != stale.generation

            return self.current(life) if self._changed.wait_for(moved, timeout_s) else None

    def _check(self, life: int) -> None:
        """Called with the lock, as all that follows in this part."""
        why = self._lost_why if life != self._life else "it is being closed" if self._closing else ""
        if not why and time.monotonic() - self._alive_s > self._longest_s:
            why = self._too_slow
        if not why and not self._member:
            why = "it is no member at the moment"
        if why:
            raise FencedError(f"this process has lost its partitions in group {self.group!r}: {why}")

    @property
    def _longest_s(self) -> float:
        return self._waits.rebalance_timeout_ms / 1e3

    @property
    def _too_slow(self) -> str:
        return f"an epoch took longer than rebalance_timeout_ms ({self._waits.rebalance_timeout_ms})"

    # -- the thread

    def _run(self) -> None:
        pause_s, since_s = _PAUSE_S, 0.0
        while not self._closing:
            try:
                with self._changed:
                    step = self._next()
                step()
                pause_s, since_s = _PAUSE_S, 0.0
            except _Lost as lost:
                self._lose(str(lost))
            except _Refused as refused:
                self._fail(BrokerError(str(refused)))
            except answers.DeniedError as error:
                self._fail(error)
            except BrokerError as error:
                since_s = since_s or time.monotonic()
                if time.monotonic() - since_s > _UNREACHABLE_S:
                    self._fail(error)
                else:
                    log.info("group %r: %s; trying again", self.group, error)
                    time.sleep(pause_s)
                    pause_s = min(pause_s * 2, 2.0)
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """It is over: whoever looks next is told why."""
        with self._changed:
            if not self._closing:
                self._failure = error
                self._lose_locked(str(error))
                self._closing = True

    def _next(self) -> Callable[[], None]:
        """What to do now; called with the lock."""
        now_s = time.monotonic()
        if now_s - self._alive_s > self._longest_s or (self._unwanted_s and now_s - self._unwanted_s > self._longest_s):
            return self._give_up
        waiting = bool(self._held - self._assigned)
        self._unwanted_s = (self._unwanted_s or now_s) if waiting and self._member else 0.0
        gathered = self._given_back_s and (not waiting or now_s - self._given_back_s > _GATHER_S)
        if self._joins or gathered:
            return self._join
        if self._leads and now_s - self._counted_s > self._refresh_s:
            return self._count_again
        self._changed.wait_for(
            lambda: self._poked or self._closing or (self._given_back_s and not self._held - self._assigned),
            self._waits.heartbeat_interval_ms / 1e3 if not self._poked else 0.05,
        )
        self._poked = False
        return self._beat

    def _give_up(self) -> None:
        """What is held is not let go of in time: let the others have it."""
        member_id = self._member_id
        self._lose(self._too_slow)
        if member_id:
            self._leave(member_id)
        with self._changed:  # it comes back when the work goes on
            self._changed.wait_for(lambda: self._closing or time.monotonic() - self._alive_s < self._longest_s, 0.5)

    def _lose(self, why: str) -> None:
        with self._changed:
            self._lose_locked(why)

    def _lose_locked(self, why: str) -> None:
        if self._member or self._held:
            log.warning("group %r: this process has lost its partitions: %s", self.group, why)
            self._life += 1
            self._lost_why = why
        self._member, self._joins, self._member_id, self._generation = False, True, "", -1
        self._assigned = self._held = frozenset()
        self._given_back_s = self._unwanted_s = 0.0
        self._changed.notify_all()

    # -- the protocol

    def _join(self) -> None:
        with self._changed:
            claim = Claim(self._held, self._generation)
            self._joins, self._given_back_s = True, 0.0
        reach("group.join")
        request = self._wire.join(self._member_id, self._waits, subscription(self._topics, claim))
        answer = self._ask(request, self._longest_s + _ANSWER_S)
        if answer.error_code == _MEMBER_ID_NEEDED:
            with self._changed:
                self._member_id = answer.member_id
            return
        if not self._taken(answer.error_code, "it cannot be joined"):
            return
        leads = answer.leader == answer.member_id
        with self._changed:
            if self._closing:
                return
            self._member_id, self._leads = answer.member_id, leads
        dealt = self._dealt(answer) if leads and not getattr(answer, "skip_assignment", False) else {}
        self._sync(answer, dealt, claim)

    def _dealt(self, answer: Any) -> dict[str, list[int]]:
        """What the leader decides for all."""
        self._count = max(topics.partition_count(self._shared, topic) for topic in self._topics)
        self._counted_s = time.monotonic()
        return assign({member.member_id: claim_of(bytes(member.metadata)) for member in answer.members}, self._count)

    def _sync(self, joined: Any, dealt: Mapping[str, list[int]], claim: Claim) -> None:
        parts = {member: assignment(self._topics, numbers) for member, numbers in dealt.items()}
        request = self._wire.sync(joined.member_id, joined.generation_id, parts)
        answer = self._ask(request, self._longest_s + _ANSWER_S)
        if answer.error_code == _REBALANCING or not self._taken(answer.error_code, "nothing is dealt to it"):
            return
        reach("group.dealt")
        assigned = parts_of(bytes(answer.assignment))
        with self._changed:
            if self._closing:
                return
            self._generation, self._member, self._joins = joined.generation_id, True, False
            # what was given back while the group was asked is not ours again by an answer to the claim before that
            returned = claim.parts - self._held
            self._assigned = assigned - returned
            self._held |= self._assigned
            self._given_back_s = time.monotonic() if returned & assigned else 0.0
            self._changed.notify_all()
        log.info("group %r, generation %d: partitions %s", self.group, joined.generation_id, sorted(assigned))

    def _beat(self) -> None:
        answer = self._ask(self._wire.heartbeat(self._member_id, self._generation), _ANSWER_S)
        if answer.error_code == _REBALANCING:
            with self._changed:
                self._joins = True
        else:
            self._taken(answer.error_code, "it does not take heartbeats")

    def _count_again(self) -> None:
        """The leader sees to it that partitions that are new are dealt."""
        count = max(topics.partition_count(self._shared, topic) for topic in self._topics)
        self._counted_s = time.monotonic()
        with self._changed:
            self._joins = self._joins or (count != self._count and self._count > 0)
            self._count = self._count or count

    def _taken(self, code: int, what: str) -> bool:
        """Whether it was; if not, it can be tried again. Raises what ends the life or the membership."""
        if not code:
            return True
        if code in (_UNKNOWN_MEMBER, _ILLEGAL_GENERATION):
            raise _Lost(f"the brokers say {answers.name(code)}; its session has expired, or it was removed")
        if code == _FENCED_INSTANCE:
            raise FencedError(
                f"another process has joined group {self.group!r} as instance {self._instance!r}; this one must stop"
            )
        if code == _OTHER_PROTOCOL:
            raise _Refused(
                f"group {self.group!r} has members that are no instances of this job; give the job another name"
            )
        if code not in answers.RETRIABLE:
            raise _Refused(str(answers.error(code, f"group {self.group!r}: {what}", self.group)))
        if code in answers.MOVED:
            self._cluster.coordinator("group", self.group, _ANSWER_S, refresh=True)
        time.sleep(_PAUSE_S)
        return False

    def _ask(self, request: Any, timeout_s: float) -> Any:
        try:
            node = self._cluster.coordinator("group", self.group, _ANSWER_S)
            return self._cluster.request(node, request, timeout_s)
        except BrokerError:
            if not self._closing:
                self._cluster.coordinator("group", self.group, _ANSWER_S, refresh=True)
            raise

    def _leave(self, member_id: str) -> None:
        try:
            node = self._shared.coordinator("group", self.group, 5.0, refresh=True)
            self._shared.request(node, self._wire.leave(member_id), 5.0)
        except BrokerError as error:
            log.info("group %r could not be told that this process leaves: %s", self.group, error)


class _Refused(Exception):
    """The group will never take this member."""
