"""A proxy in front of real brokers that understands Kafka's frames, and hurts the ones it is told to.

Clients that start from its address stay on it: the addresses of brokers in answers are its own. A frame is what follows
its length: a request begins with API key, version and correlation id, an answer with the correlation id. A handler of
`on_request` or `on_answer` gets an exchange and gives the frames to send on: none to lose it, two to send it twice,
another to lie; it may sleep to delay, and raise `Cut` to end the connection or `Reply` to answer in a broker's place.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka.protocol.metadata import FindCoordinatorResponse, MetadataResponse

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR = 0, 1, 2, 3, 9, 10
API_VERSIONS, INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 18, 22, 24, 25, 26, 28
_SIZE = struct.Struct(">i")
_HEAD = struct.Struct(">hhi")


class Cut(Exception):
    """Ends the connection that a frame is on."""


class Reply(Exception):
    """Raised for a request: the broker never hears of it, this message is the answer."""

    def __init__(self, message: Any) -> None:
        super().__init__("answered by the proxy")
        self.message = message


@dataclass(frozen=True)
class Exchange:
    """A request and where it went: the number of the broker in the bootstrap addresses."""

    broker: int
    api: int
    version: int
    correlation: int
    request: bytes = field(repr=False)

    def decoded(self, kind: Any) -> Any:
        """The request as kafka-python's class."""
        return kind[self.version].decode(self.request, header=True)

    def answer(self, message: Any) -> bytes:
        """The frame of an answer that is made by hand."""
        message.with_header(correlation_id=self.correlation)
        return bytes(message.encode(header=True))


OnRequest = Callable[[Exchange], Iterable[bytes]]
OnAnswer = Callable[[Exchange, bytes], Iterable[bytes]]


@dataclass
class _Handler:
    api: int
    act: Callable[..., Iterable[bytes]]
    left: int | None  # None: every time


class Proxy:
    """Listens on one loopback port for each broker of `bootstrap`.

    `chunk_bytes` and `pause_s`: answers are sent in pieces of so many bytes, with a pause behind each; 0 sends them as
    they come. `exchanges`: the last requests, as they came.
    """

    def __init__(self, bootstrap: str) -> None:
        self._brokers = [_address(server) for server in bootstrap.split(",")]
        self.chunk_bytes, self.pause_s = 0, 0.0
        self.exchanges: deque[Exchange] = deque(maxlen=20_000)
        self.speaking = threading.Event()  # cleared: connections stay, but nothing comes through either way
        self.speaking.set()
        self._lock = threading.Lock()
        self._requests: list[_Handler] = []
        self._answers: list[_Handler] = []
        self._lines: set[_Line] = set()
        self.closed = False
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in self._brokers]
        self.ports = [listener.getsockname()[1] for listener in self._listeners]
        for number in range(len(self._brokers)):
            threading.Thread(target=self._accept, args=(number,), daemon=True).start()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def on_request(self, api: int, act: OnRequest, times: int | None = 1) -> None:
        """Let `act` have the next `times` requests of this API key (None: all)."""
        with self._lock:
            self._requests.append(_Handler(api, act, times))

    def on_answer(self, api: int, act: OnAnswer, times: int | None = 1) -> None:
        """Let `act` have the next `times` answers to requests of this API key (None: all)."""
        with self._lock:
            self._answers.append(_Handler(api, act, times))

    def heal(self) -> None:
        """No handler and no slowness any more."""
        with self._lock:
            self._requests.clear()
            self._answers.clear()
            self.chunk_bytes, self.pause_s = 0, 0.0
        self.speaking.set()

    def cut(self) -> None:
        """End every connection there is."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.close()

    def deliver(self, exchange: Exchange, frame: bytes | None = None) -> bytes:
        """A request that was held back reaches its broker after all, on a connection of its own; the answer."""
        with socket.create_connection(self._brokers[exchange.broker], 10) as line:
            _send(line, exchange.request if frame is None else frame)
            return _frame(line)

    def close(self) -> None:
        self.closed = True
        self.speaking.set()
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- what lines ask

    def request(self, exchange: Exchange) -> Iterable[bytes]:
        self.exchanges.append(exchange)
        handler = self._taken(self._requests, exchange.api)
        return (exchange.request,) if handler is None else handler.act(exchange)

    def answer(self, exchange: Exchange, frame: bytes) -> Iterable[bytes]:
        frame = self._at_home(exchange, frame)
        handler = self._taken(self._answers, exchange.api)
        return (frame,) if handler is None else handler.act(exchange, frame)

    def forget(self, line: _Line) -> None:
        with self._lock:
            self._lines.discard(line)

    def _taken(self, handlers: list[_Handler], api: int) -> _Handler | None:
        with self._lock:
            found = next((handler for handler in handlers if handler.api == api), None)
            if found is not None and found.left is not None:
                found.left -= 1
                if not found.left:
                    handlers.remove(found)
            return found

    def _at_home(self, exchange: Exchange, frame: bytes) -> bytes:
        """The answer with our ports in place of the brokers'."""
        if exchange.api == METADATA:
            answer = MetadataResponse[exchange.version].decode(frame, header=True)
            named = answer.brokers
        elif exchange.api == FIND_COORDINATOR:
            answer = FindCoordinatorResponse[exchange.version].decode(frame, header=True)
            named = answer.coordinators if exchange.version >= 4 else [answer]
        else:
            return frame
        ports = {port: ours for (_, port), ours in zip(self._brokers, self.ports, strict=True)}
        for broker in named:
            broker.port = ports.get(broker.port, broker.port)
        return exchange.answer(answer)

    def _accept(self, number: int) -> None:
        while not self.closed:
            try:
                client, _ = self._listeners[number].accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._brokers[number], 5)
            except OSError:
                client.close()
                continue
            line = _Line(self, number, client, broker)
            with self._lock:
                self._lines.add(line)
            line.start()


class _Line:
    """One connection of a client, and the one to the broker that belongs to it."""

    def __init__(self, proxy: Proxy, number: int, client: socket.socket, broker: socket.socket) -> None:
        self._proxy = proxy
        self._number = number
        self._client = client
        self._broker = broker
        self._asked: dict[int, Exchange] = {}
        for side in (client, broker):
            side.settimeout(None)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for pump in (self._ask, self._tell):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def close(self) -> None:
        for side in (self._client, self._broker):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._proxy.forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            while not self._proxy.closed:
                pump()
        except (OSError, EOFError, Cut):
            self.close()

    def _ask(self) -> None:
        request = _frame(self._client)
        exchange = Exchange(self._number, *_HEAD.unpack_from(request), request)
        self._asked[exchange.correlation] = exchange
        try:
            frames = list(self._proxy.request(exchange))
        except Reply as reply:
            self._send_slowly(exchange.answer(reply.message))
            return
        self._proxy.speaking.wait()
        for frame in frames:
            _send(self._broker, frame)

    def _tell(self) -> None:
        frame = _frame(self._broker)
        exchange = self._asked.pop(_SIZE.unpack_from(frame)[0], None)
        frames = [frame] if exchange is None else list(self._proxy.answer(exchange, frame))
        self._proxy.speaking.wait()
        for one in frames:
            self._send_slowly(one)

    def _send_slowly(self, frame: bytes) -> None:
        data = _SIZE.pack(len(frame)) + frame
        step = self._proxy.chunk_bytes or len(data)
        for at in range(0, len(data), step):
            self._client.sendall(data[at : at + step])
            if self._proxy.pause_s:
                time.sleep(self._proxy.pause_s)


def lose(*_: Any) -> Iterable[bytes]:
    """A handler: nobody hears of it."""
    return ()


def cut(*_: Any) -> Iterable[bytes]:
    """A handler: the connection ends instead."""
    raise Cut


def twice(exchange: Exchange, frame: bytes | None = None) -> Iterable[bytes]:
    """A handler: the same again."""
    return [exchange.request if frame is None else frame] * 2


def _send(line: socket.socket, frame: bytes) -> None:
    line.sendall(_SIZE.pack(len(frame)) + frame)


def _frame(line: socket.socket) -> bytes:
    (size,) = _SIZE.unpack(_exactly(line, _SIZE.size))
    return _exactly(line, size)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = line.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return bytes(data)


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host, int(port)
