"""A cluster, asked from any thread: one event loop, one connection for each broker, a deadline for every question.

The transport is kafka-python's (connections, TLS, SASL, the encoding of messages); nothing else of it is used. A
request goes out once. What only reads is asked again when its connection broke; for anything else a connection that
breaks between question and answer is a `NoAnswerError`: the broker may have done it or not, and the caller has to find
out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import kafka.errors as kafka_errors
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import ApiVersionsRequest, FindCoordinatorRequest, MetadataRequest

from windrow.errors import BrokerError
from windrow.io.kafka import answers, redaction, seams, security

_API_METADATA = 3
#: What only reads, by API key: Fetch, ListOffsets, Metadata, OffsetFetch, FindCoordinator, ApiVersions and Describe...
_READS = frozenset({1, 2, _API_METADATA, 9, 10, 15, 18, 32, 35, 60, 61, 65, 66, 75})
#: What a connection ends with: it broke, or what came on it is no answer to what was asked.
_BROKEN = (
    kafka_errors.KafkaConnectionError,
    kafka_errors.KafkaProtocolError,
    OSError,
)
#: A connection that is not there yet, or not in time; nothing was sent.
_NOT_READY = (kafka_errors.NodeNotReadyError, kafka_errors.KafkaTimeoutError, *_BROKEN)
_KINDS = {"group": 0, "transaction": 1}
_PAUSE_S = 0.02
_PIPELINE = 1_000  # requests on the way to one broker; 5, the default, would refuse the sixth
_MAX_ANSWER_BYTES = 128 << 20
_CONNECT = "socket_connection_setup_timeout_ms"
_DEFAULTS = {
    "client_id": "windrow",
    "max_in_flight_requests_per_connection": _PIPELINE,
    "receive_message_max_bytes": _MAX_ANSWER_BYTES,
    "reconnect_backoff_ms": 20,
    "reconnect_backoff_max_ms": 1_000,
    _CONNECT: 3_000,
}


class NotReachedError(BrokerError):
    """Nothing was sent: there is no connection to the broker that was asked."""


class NoAnswerError(BrokerError):
    """A request was sent and nothing came back: it may have been done or not."""


class Cluster:
    """The brokers behind `bootstrap` (``"host:port, host:port"``); may be used by several threads.

    `settings` are those of kafka-python's connection manager (``security_protocol``, ``ssl_context``, ``sasl_...``).
    Every call ends by its deadline; all raise `BrokerError` with a sentence that names broker and reason. A broker that
    was named and cannot be connected to within ``socket_connection_setup_timeout_ms`` is given up before that, by a
    `NotReachedError`: it may be dead, and another one have its place.
    """

    def __init__(self, bootstrap: str, settings: Mapping[str, Any] | None = None, timeout_s: float = 10.0) -> None:
        seams.check()
        redaction.install()
        security.warn_if_open(bootstrap, settings or {})
        self.bootstrap = bootstrap
        self.settings: Mapping[str, Any] = dict(settings or {})
        named = servers(bootstrap)
        self._net = NetworkSelector(client_id="windrow", slow_task_threshold_secs=0)
        config = {**_DEFAULTS, **self.settings, "bootstrap_servers": named}
        self._manager = KafkaConnectionManager(self._net, **config)
        self._connect_s = config[_CONNECT] / 1e3
        self._lock = threading.Lock()
        self._leaders: dict[str, dict[int, int]] = {}
        self._coordinators: dict[tuple[str, str], int] = {}
        self._closed = False
        self._dropped = ""
        self._denied = ""  # what a broker said of the credentials; its client would go on trying
        self._get_connection, self._manager.get_connection = self._manager.get_connection, self._watched
        self._net.start()
        try:
            self._connect(timeout_s)
        except BaseException:
            self.close()
            raise

    def request(self, node: int | None, request: Any, timeout_s: float) -> Any:
        """The answer of broker `node` (None: any). Raises `NoAnswerError` when it may have been done all the same."""
        (answer,) = self.pipelined([(node, request)], timeout_s)
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    def pipelined(self, requests: Sequence[tuple[int | None, Any]], timeout_s: float) -> list[Any]:
        """The answers, all asked at once, in the order of the questions; a `BrokerError` where one has none."""
        deadline_s = time.monotonic() + timeout_s
        waiting = _Waiting(len(requests))
        for place, (node, request) in enumerate(requests):
            try:
                future = self._manager.call_soon(self._ask, node, request, deadline_s)
            except Exception as error:  # the loop is closed, or has crashed
                waiting.take(place, BrokerError(f"the connections to {self.bootstrap} are closed: {error}"))
                continue
            future.add_both(waiting.take_at(place))
        # every wait of the loop ends by the deadline; should the loop itself have died, this one does
        waiting.done.wait(timeout_s + 1.0)
        return [self._result(value, timeout_s) for value in waiting.values]

    def leaders(self, topics: Iterable[str], timeout_s: float, *, refresh: bool = False) -> dict[str, dict[int, int]]:
        """Topic -> partition -> broker that leads it; remembered until asked to `refresh`.

        A topic that is not there is missing in the result, and a partition has no entry while it has no leader.
        """
        wanted = list(dict.fromkeys(topics))
        with self._lock:
            asked = [name for name in wanted if refresh or name not in self._leaders]
        if asked:
            self._read_leaders(asked, timeout_s)
        with self._lock:
            return {name: dict(self._leaders[name]) for name in wanted if name in self._leaders}

    def coordinator(self, kind: str, key: str, timeout_s: float, *, refresh: bool = False) -> int:
        """The broker that coordinates a ``"group"`` or a ``"transaction"``; remembered until asked to `refresh`."""
        with self._lock:
            known = self._coordinators.get((kind, key))
        if known is not None and not refresh:
            return known
        deadline_s = time.monotonic() + timeout_s
        while True:
            found = self.request(None, _find_coordinator(kind, key), max(deadline_s - time.monotonic(), 0.01))
            answer = found.coordinators[0] if found.version >= 4 else found
            if not answer.error_code:
                with self._lock:
                    self._coordinators[kind, key] = answer.node_id
                return int(answer.node_id)
            if answer.error_code not in answers.RETRIABLE or time.monotonic() >= deadline_s:
                raise answers.error(answer.error_code, f"no coordinator for {kind} {key!r}", key)
            time.sleep(_PAUSE_S)

    def finalized(self, feature: str, timeout_s: float) -> int:
        """The level of a feature that the whole cluster has, 0 when it has not."""
        answer = self.request(None, ApiVersionsRequest(min_version=3, max_version=3, **_SOFTWARE), timeout_s)
        if answer.error_code:
            raise answers.error(answer.error_code, "the brokers do not say what they can do")
        levels = {known.name: known.max_version_level for known in answer.finalized_features or ()}
        return int(levels.get(feature, 0))

    def close(self) -> None:
        """End the connections and the thread. Questions under way end with `BrokerError`. Repeatable."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        closing = threading.Event()
        try:
            self._manager.call_soon(self._manager.close).add_both(lambda _: closing.set())
            closing.wait(2.0)
        finally:
            self._net.stop(timeout_ms=2_000)
            self._net.close()

    # -- on the loop's thread

    async def _ask(self, node: int | None, request: Any, deadline_s: float) -> Any:
        while True:
            connection = await self._connected(node, deadline_s)
            try:
                return await connection.send_request(
                    request, request_timeout_ms=self._patience_ms(node, request, deadline_s)
                )
            except kafka_errors.NodeNotReadyError:  # said before anything is sent
                await self._net.sleep(_PAUSE_S)
            except (kafka_errors.RequestTimedOutError, *_BROKEN) as error:
                again = request.API_KEY in _READS and time.monotonic() + _PAUSE_S < deadline_s
                if not again:
                    name = type(request).__name__.removesuffix("Request")
                    raise NoAnswerError(f"{self._named(node)} did not answer to {name}: {error}") from error
                await self._net.sleep(_PAUSE_S)
            if time.monotonic() >= deadline_s:
                raise BrokerError(f"{self._named(node)} takes no requests at the moment")

    def _patience_ms(self, node: int | None, request: Any, deadline_s: float) -> float:
        """How long to wait for an answer: to the deadline; but what any broker can answer goes to the next one."""
        left_s = max(deadline_s - time.monotonic(), 1e-3)
        if node is None and request.API_KEY in _READS and len(self._manager.cluster.brokers()) > 1:
            left_s = min(left_s, max(self._connect_s, left_s / 4))
        return left_s * 1e3

    async def _connected(self, node: int | None, deadline_s: float) -> Any:
        """A connection to `node`, which is given up before the deadline; to any broker, which is not."""
        limit_s = deadline_s if node is None else min(deadline_s, time.monotonic() + self._connect_s)
        while True:
            try:
                return await self._ready(node, limit_s, deadline_s)
            except _NOT_READY as error:
                if time.monotonic() + _PAUSE_S >= limit_s:
                    within = "" if node is None else f" within {self._connect_s:g} s"
                    raise NotReachedError(f"{self._named(node)} cannot be reached{within}: {error}") from error
                await self._net.sleep(_PAUSE_S)

    async def _ready(self, node: int | None, limit_s: float, deadline_s: float) -> Any:
        """A connection that is open by then, and not held up by a full buffer or a throttle."""
        limit_s = min(limit_s, time.monotonic() + self._connect_s)
        cluster = self._manager.cluster
        if node is None:
            node = self._manager.least_loaded_node()
        if node is None or cluster.broker_metadata(node) is None:
            await self._by(self._manager.call_soon(cluster.refresh_metadata), limit_s)
            raise kafka_errors.NodeNotReadyError("not known yet")
        connection = self._manager.get_connection(node)
        await self._by(connection.init_future, limit_s)
        while connection.paused and not connection.closed and time.monotonic() < deadline_s:
            await self._net.sleep(0.001)
        return connection

    async def _by(self, future: Any, limit_s: float) -> None:
        await self._manager.wait_for(future, max((limit_s - time.monotonic()) * 1e3, 1.0))

    # -- on the caller's

    def _connect(self, timeout_s: float) -> None:
        waiting = _Waiting(1)
        self._manager.bootstrap_async(timeout_ms=timeout_s * 1e3).add_both(waiting.take_at(0))
        deadline_s = time.monotonic() + timeout_s + 1.0
        while not waiting.done.wait(0.02) and not self._denied and time.monotonic() < deadline_s:
            pass
        if not waiting.done.is_set() or isinstance(waiting.values[0], BaseException):
            reason = self._denied or self._dropped or f"none answered within {timeout_s:g} s"
            raise BrokerError(f"no broker of {self.bootstrap!r} can be reached: {reason}")

    def _watched(self, *arguments: Any, **named: Any) -> Any:
        """A connection of the manager's, whose refusal is remembered: kafka-python only tries again."""
        connection = self._get_connection(*arguments, **named)
        connection.init_future.add_errback(self._note_refusal)
        return connection

    def _note_refusal(self, error: BaseException) -> None:
        if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
            user = self.settings.get("sasl_plain_username")
            self._denied = f"authentication as {user!r} failed" if user else "authentication failed"
        elif "sasl_mechanism" in self.settings and isinstance(error, kafka_errors.KafkaConnectionError):
            # over TLS the broker's refusal is often overtaken by the end of the connection
            self._dropped = f"connections end before authentication does ({error}); are the credentials right?"

    def _result(self, value: Any, timeout_s: float) -> Any:
        if not isinstance(value, BaseException) or isinstance(value, BrokerError):
            return value
        if value is _NOTHING or isinstance(value, kafka_errors.KafkaTimeoutError):
            return NoAnswerError(f"{self.bootstrap}: no answer within {timeout_s:g} s")
        failed = BrokerError(f"{self.bootstrap}: {value}")
        failed.__cause__ = value
        return failed

    def _named(self, node: int | None) -> str:
        broker = self._manager.cluster.broker_metadata(node)
        if broker is None:
            return "any broker" if node is None else f"broker {node}"
        return f"broker {node} ({broker.host}:{broker.port})"

    def _read_leaders(self, topics: Sequence[str], timeout_s: float) -> None:
        named = [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
        request = MetadataRequest(topics=named, allow_auto_topic_creation=False, min_version=4, max_version=9)
        answer = self.request(None, request, timeout_s)
        with self._lock:
            for topic in answer.topics:
                if topic.error_code in answers.DENIED:
                    raise answers.error(topic.error_code, f"topic {topic.name!r} is not shown", topic.name)
                self._leaders.pop(topic.name, None)
                if not topic.error_code or topic.partitions:
                    self._leaders[topic.name] = {
                        part.partition_index: part.leader_id for part in topic.partitions if part.leader_id >= 0
                    }


class _Waiting:
    """Where the answers to several questions come together."""

    def __init__(self, count: int) -> None:
        self.values: list[Any] = [_NOTHING] * count
        self.done = threading.Event()
        self._left = count
        self._lock = threading.Lock()
        if not count:
            self.done.set()

    def take(self, place: int, value: Any) -> None:
        with self._lock:
            self.values[place] = value
            self._left -= 1
            if not self._left:
                self.done.set()

    def take_at(self, place: int) -> Any:
        return lambda value: self.take(place, value)


_NOTHING = kafka_errors.KafkaTimeoutError("nothing came")
_SOFTWARE = {"client_software_name": "windrow", "client_software_version": "0.1.0"}

#: The brokers' addresses and the settings. Whatever a setting is, it stays alive while it is part of a key.
_Key = tuple[str, frozenset[tuple[str, Any]]]

_shared: dict[_Key, tuple[Cluster, int]] = {}
_shared_lock = threading.Lock()


def shared(bootstrap: str, settings: Mapping[str, Any] | None = None, timeout_s: float = 10.0) -> Cluster:
    """The process's one client of these brokers with these settings; give it back with `release`."""
    key = _key(bootstrap, settings or {})
    with _shared_lock:
        cluster, users = _shared.get(key, (None, 0))
        if cluster is None or cluster._closed:  # closed by one of its users: the others are not to have it
            cluster, users = Cluster(bootstrap, settings, timeout_s), 0
        _shared[key] = (cluster, users + 1)
        return cluster


def release(cluster: Cluster) -> None:
    """Say that `shared`'s cluster is no longer needed; the last one to say so closes it."""
    key = _key(cluster.bootstrap, cluster.settings)
    with _shared_lock:
        known, users = _shared.get(key, (None, 0))
        if known is not cluster:
            return
        if users > 1:
            _shared[key] = (cluster, users - 1)
            return
        del _shared[key]
    cluster.close()


def _key(bootstrap: str, settings: Mapping[str, Any]) -> _Key:
    return ",".join(servers(bootstrap)), frozenset(settings.items())


def _find_coordinator(kind: str, key: str) -> Any:
    return FindCoordinatorRequest(key=key, key_type=_KINDS[kind], coordinator_keys=[key], min_version=1, max_version=4)


def servers(bootstrap: str) -> list[str]:
    """The addresses in it, sorted. Raises `BrokerError` when one is none."""
    found = [part.strip() for part in bootstrap.split(",") if part.strip()]
    for server in found:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit():
            raise BrokerError(f"a bootstrap server is 'host:port', got {server!r}")
    if not found:
        raise BrokerError(f"bootstrap servers are 'host:port, host:port', got {bootstrap!r}")
    return sorted(found)
