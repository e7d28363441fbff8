"""kafka-python's log lines without what nobody may see.

At DEBUG kafka-python 3.0.12 writes every request and every frame, credentials and records included (the same as
CVE-2026-33558 of the Java clients). So each of its loggers gets a filter: frames become their size, messages of SASL
and those that carry records their name, and any secret that is known is replaced in whatever else is written.
"""

from __future__ import annotations

import base64
import logging
import threading
import traceback
from urllib.parse import quote

from windrow.secret import HIDDEN

#: Loggers of kafka-python that are made when they are first used; all that are there by then are covered too.
_LOGGERS = (
    "kafka",
    "kafka.cluster",
    "kafka.consumer.group",
    "kafka.coordinator",
    "kafka.coordinator.consumer",
    "kafka.coordinator.heartbeat",
    "kafka.net.connection",
    "kafka.net.http_connect",
    "kafka.net.inet",
    "kafka.net.manager",
    "kafka.net.sasl.oauth",
    "kafka.net.sasl.plain",
    "kafka.net.sasl.scram",
    "kafka.net.selector",
    "kafka.net.socks5",
    "kafka.net.transport",
    "kafka.producer.kafka",
    "kafka.protocol",
    "kafka.protocol.parser",
)
_WITH_RECORDS = frozenset({"ProduceRequest", "FetchResponse"})
_LEAST_CHARACTERS = 4  # of what is replaced anywhere: shorter texts would make every line unreadable

_hidden: set[str] = set()
_lock = threading.Lock()


def hide(text: str) -> None:
    """Never let this text into a line of kafka-python's logs."""
    if len(text) < _LEAST_CHARACTERS:
        return
    raw = text.encode()
    forms = {text, repr(text)[1:-1], repr(raw)[2:-1], quote(text), base64.b64encode(raw).decode()}
    with _lock:
        _hidden.update(forms)


def install() -> None:
    """Put the filter on every logger of kafka-python; repeatable."""
    there = [name for name in logging.root.manager.loggerDict if name.startswith("kafka.")]
    for name in {*_LOGGERS, *there}:
        logger = logging.getLogger(name)
        if _redacted not in logger.filters:
            logger.addFilter(_redacted)


def _redacted(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass, changed where it has to be."""
    if isinstance(record.args, tuple):
        record.args = tuple(_shown(arg) for arg in record.args)
    if not _hidden:
        return True
    with _lock:
        hidden = sorted(_hidden, key=len, reverse=True)
    text = record.getMessage()
    record.msg, record.args = _without(text, hidden), None
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = _without("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"), hidden)
        record.exc_info = None
    return True


def _shown(arg: object) -> object:
    if isinstance(arg, bytes | bytearray | memoryview):
        return f"{len(arg)} bytes"
    name = type(arg).__name__
    if name.startswith("Sasl"):
        return f"{name}({HIDDEN})"
    return f"{name}(...)" if name in _WITH_RECORDS else arg


def _without(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
