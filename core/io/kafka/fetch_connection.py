"""A connection that fetched bytes come in on: one blocking socket, whole frames straight into Arrow's memory.

kafka-python 3.0.12 receives 4096 bytes at a time and copies them about six times before a record batch can be seen,
with the interpreter's lock taken for each piece; here a plaintext frame is one system call that holds no lock.
Addresses, TLS context and SASL mechanisms are those of the client; only fetched bytes take this way.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from windrow.errors import BrokerError, WindrowError
from windrow.io.kafka import answers
from windrow.io.kafka import fetch_wire as wire

#: Bytes after the end of a frame that kernels may read.
PADDING = 64
_CONNECT_S = 10.0
_PATIENCE_S = 1.0  # how often a waiting receive looks at its deadline
_SMALL_FRAME = 1 << 20  # what an authentication answer may take at most
_SIZE = struct.Struct(">i")
_HANDSHAKE_VERSION = 1
_AUTHENTICATE_VERSION = 1
_API_VERSIONS_VERSION = 0  # every broker knows it, and it says all that is asked


class TooOldError(BrokerError):
    """A broker that cannot be fetched from, however often it is asked."""


class FetchConnection:
    """One connection to one broker, authenticated; `close` may be called from another thread and ends a `receive`.

    `settings` are those of kafka-python's connection manager: ``security_protocol``, ``ssl_context``, ``sasl_...``.
    `version` is the newest of Fetch that both sides know; brokers of one cluster may differ while they are upgraded.
    Raises `BrokerError` when the broker cannot be reached, refuses the credentials or is too old, and `TimeoutError` or
    `OSError` when it stops answering.
    """

    def __init__(self, host: str, port: int, settings: Mapping[str, Any], timeout_s: float = _CONNECT_S) -> None:
        self.where = f"{host}:{port}"
        self.expires_s = float("inf")  # on the monotonic clock: when the broker wants credentials again (KIP-368)
        self._host = host
        self._settings = settings
        self._protocol = str(settings.get("security_protocol", "PLAINTEXT"))
        self._secure = self._protocol in ("SSL", "SASL_SSL")
        deadline_s = time.monotonic() + timeout_s
        self._socket = self._connected(host, port, timeout_s)
        try:
            if self._protocol.startswith("SASL_"):
                self._authenticate(deadline_s)
            self.version = self._fetch_version(deadline_s)
        except BaseException:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def receive(self, deadline_s: float, max_bytes: int) -> tuple[pa.Buffer, memoryview]:
        """The next frame without its length: the buffer, which has `PADDING` bytes more, and a view of the frame."""
        head = bytearray(_SIZE.size)
        self._fill(memoryview(head), deadline_s)
        (size,) = _SIZE.unpack(head)
        if not 4 <= size <= max_bytes:
            raise BrokerError(
                f"broker {self.where} answers with {size} bytes, where at most {max_bytes} are taken; a record batch "
                "that large needs a larger kafka={'receive.max.bytes': ...}"
            )
        buffer = pa.allocate_buffer(size + PADDING)
        whole = memoryview(buffer).cast("B")
        self._fill(whole[:size], deadline_s)
        return buffer, whole[:size]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()

    def _connected(self, host: str, port: int, timeout_s: float) -> socket.socket:
        try:
            made = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise BrokerError(f"broker {self.where} cannot be reached: {error}") from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._secure:
            try:
                secure: socket.socket = self._settings["ssl_context"].wrap_socket(
                    made, server_hostname=host.rstrip(".")
                )
            except OSError as error:
                made.close()
                raise BrokerError(f"broker {self.where}: no TLS connection: {error}") from error
            secure.settimeout(_PATIENCE_S)
            return secure
        # blocking, with the deadline in the kernel: Python's own timeouts give back the lock for every few kilobytes
        made.settimeout(None)
        patience = struct.pack("ll", int(_PATIENCE_S), 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(_CONNECT_S), 0))
        return made

    def _fill(self, view: memoryview, deadline_s: float) -> None:
        flags = 0 if self._secure else socket.MSG_WAITALL
        while view:
            try:
                got = self._socket.recv_into(view, len(view), flags)
            except (TimeoutError, BlockingIOError):
                got = -1
            if got == 0:
                raise ConnectionResetError(f"broker {self.where} closed the connection")
            if got > 0:
                view = view[got:]
            elif time.monotonic() >= deadline_s:
                raise TimeoutError(f"broker {self.where} does not answer")

    def _fetch_version(self, deadline_s: float) -> int:
        question = ApiVersionsRequest(version=_API_VERSIONS_VERSION)
        answer = self._call(question, ApiVersionsResponse[_API_VERSIONS_VERSION], deadline_s, "its greeting")
        if answer.error_code:
            raise BrokerError(f"broker {self.where} does not say what it can do: {answers.name(answer.error_code)}")
        known = {each.api_key: each for each in answer.api_keys}.get(wire.API_FETCH)
        if known is None or known.max_version < wire.MIN_VERSION or known.min_version > wire.MAX_VERSION:
            what = f"versions {known.min_version} to {known.max_version}" if known is not None else "no version"
            raise TooOldError(
                f"broker {self.where} knows {what} of Fetch, and versions {wire.MIN_VERSION} to {wire.MAX_VERSION} "
                "are spoken here: Apache Kafka 2.8 or newer is needed"
            )
        return min(int(known.max_version), wire.MAX_VERSION)

    # -- SASL, as kafka-python's connections do it, with its mechanisms

    def _authenticate(self, deadline_s: float) -> None:
        mechanism_name = self._settings["sasl_mechanism"]
        handshake = SaslHandshakeRequest(mechanism=mechanism_name, version=_HANDSHAKE_VERSION)
        answer = self._call(handshake, SaslHandshakeResponse[_HANDSHAKE_VERSION], deadline_s)
        if answer.error_code:
            offered = ", ".join(answer.mechanisms)
            raise BrokerError(f"broker {self.where} does not take SASL {mechanism_name}; it offers {offered}")
        mechanism = get_sasl_mechanism(mechanism_name)(host=self._host, **self._settings)
        try:
            lifetime_ms = self._exchange(mechanism, deadline_s)
        except WindrowError:
            raise
        except Exception as error:  # SCRAM's signatures, or the user's token provider: no text of it is shown
            raise BrokerError(
                f"SASL {mechanism_name} with broker {self.where} failed ({type(error).__name__})"
            ) from error
        if lifetime_ms > 0:
            self.expires_s = time.monotonic() + lifetime_ms / 1e3 * 0.85

    def _exchange(self, mechanism: Any, deadline_s: float) -> int:
        """Until both sides are satisfied; for how long that holds, in milliseconds (0: for ever)."""
        lifetime_ms = 0
        while not mechanism.is_done():
            request = SaslAuthenticateRequest(mechanism.auth_bytes(), version=_AUTHENTICATE_VERSION)
            answer = self._call(request, SaslAuthenticateResponse[_AUTHENTICATE_VERSION], deadline_s)
            if answer.error_code:
                raise BrokerError(f"broker {self.where} refused the credentials: {answer.error_message}")
            lifetime_ms = answer.session_lifetime_ms
            mechanism.receive(answer.auth_bytes)
        if not mechanism.is_authenticated():
            raise BrokerError(f"broker {self.where} did not accept the credentials")
        return int(lifetime_ms)

    def _call(self, request: Any, response: Any, deadline_s: float, what: str = "the authentication") -> Any:
        request.with_header(correlation_id=0, client_id="windrow")
        try:
            self.send(request.encode(framed=True, header=True))
            _, frame = self.receive(deadline_s, _SMALL_FRAME)
        except OSError as error:
            raise BrokerError(f"broker {self.where} broke off {what}: {error}") from error
        return response.decode(bytes(frame), header=True)
