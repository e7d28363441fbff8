"""What is used of kafka-python's inside, and the check that it is still there.

kafka-python says nowhere that its connection manager, its event loop and its message classes stay as they are: 3.1 has
moved them. So the version is bounded, and what is used is looked for before the first connection is made.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

try:
    import kafka
except ImportError as error:  # pragma: no cover - the environment of the tests has it
    raise ImportError("Kafka needs kafka-python, which is not installed: pip install 'windrow[kafka]'") from error

from kafka.future import Future
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.producer import EndTxnRequest, ProduceRequest, TxnOffsetCommitRequest

from windrow.errors import BrokerError

_OLDEST, _BELOW = (3, 0, 12), (3, 1)
_FIX = "install the range that is tested: pip install 'windrow[kafka]'"

#: What is called, with the parameters that are passed.
_CALLS: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (KafkaConnectionManager.__init__, ("net",)),
    (KafkaConnectionManager.call_soon, ("coro",)),
    (KafkaConnectionManager.bootstrap_async, ("timeout_ms",)),
    (KafkaConnectionManager.get_connection, ("node_id",)),
    (KafkaConnectionManager.wait_for, ("future", "timeout_ms")),
    (KafkaConnectionManager.close, ()),
    (KafkaConnection.send_request, ("request", "request_timeout_ms")),
    (KafkaConnection.close, ("error",)),
    (NetworkSelector.start, ()),
    (NetworkSelector.stop, ("timeout_ms",)),
    (NetworkSelector.close, ()),
    (NetworkSelector.sleep, ("delay",)),
    (Future.add_both, ("f",)),
)
#: The newest version of a message that is sent; KIP-890 needs these.
_MESSAGES = ((ProduceRequest, 12), (TxnOffsetCommitRequest, 5), (EndTxnRequest, 5))


@functools.cache
def check() -> None:
    """Raise `BrokerError` when the installed kafka-python is not one that this package can stand on."""
    version = tuple(int(part) for part in re.findall(r"\d+", kafka.__version__)[:3])
    if not _OLDEST <= version < _BELOW:
        raise BrokerError(f"kafka-python {kafka.__version__} is installed, 3.0.12 up to below 3.1 is needed: {_FIX}")
    missing = [call.__qualname__ for call, names in _CALLS if not _takes(call, names)]
    missing += [f"{message.name} {most}" for message, most in _MESSAGES if message.max_version < most]
    missing += ["KafkaConnection.init_future"] * (not hasattr(KafkaConnection, "init_future"))
    if missing:
        raise BrokerError(f"kafka-python {kafka.__version__} has changed inside ({', '.join(missing)}): {_FIX}")


def _takes(call: Callable[..., Any], names: tuple[str, ...]) -> bool:
    return set(names) <= set(inspect.signature(call).parameters)
