"""What ``kafka={...}`` may say, checked by us: how to connect, how much to fetch, how long to wait.

Names are kafka-python's, with ``_`` or ``.`` between their words. Names that users of the Java client or of librdkafka
know are met with what to say instead. Values are never part of a message: one of them may be a password.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from windrow.errors import PlanError
from windrow.io.kafka import security
from windrow.io.kafka.fetcher import FetchLimits

#: Kafka's name -> ours, and what one of ours is in it.
_FETCH: Mapping[str, tuple[str, float]] = {
    "fetch_max_bytes": ("request_bytes", 1),
    "fetch_max_wait_ms": ("wait_ms", 1),
    "fetch_min_bytes": ("min_bytes", 1),
    "max_partition_fetch_bytes": ("partition_bytes", 1),
    "receive_max_bytes": ("response_bytes", 1),
    "request_timeout_ms": ("request_s", 1e-3),
    "metadata_max_age_ms": ("refresh_s", 1e-3),
    "buffer_bytes": ("buffer_bytes", 1),
    "unavailable_ms": ("unavailable_s", 1e-3),
}
#: Kafka's name -> ours in `Waits`.
_WAITS = ("transaction_timeout_ms", "session_timeout_ms", "heartbeat_interval_ms", "rebalance_timeout_ms")
_CONNECTION = (
    "reconnect_backoff_ms",
    "reconnect_backoff_max_ms",
    "connections_max_idle_ms",
    "socket_connection_setup_timeout_ms",
)
_NAMES = (*security.OPTIONS, "client_id", *_CONNECTION, *_FETCH, *_WAITS)

_POSITIONS = "positions are part of every commit, and nothing else commits them"
_PRODUCER = "it is always so: what an epoch writes is one transaction, acknowledged by all replicas"
_EPOCHS = "how much comes together is said by wr.job(..., limits=wr.Limits(...))"
_HOST = "host names are always checked; 'insecure_skip_hostname_check': True switches that off"
_JAAS = "say sasl_mechanism, sasl_plain_username and sasl_plain_password; texts that name code are not read"
_TOKENS = "give an object with a method token() as sasl_oauth_token_provider; no URL is taken from options"
_PEM = "certificates and keys are files in PEM format: ssl_cafile, ssl_certfile, ssl_keyfile"
#: What other clients call it, with ``_`` -> what to say here.
_ELSEWHERE: Mapping[str, str] = {
    "bootstrap_servers": "it is the first argument",
    "metadata_broker_list": "it is the first argument",
    "api_version": "versions are agreed with the brokers",
    "auto_offset_reset": "say read_kafka(..., start=...), and on_offset_gone= for offsets that were deleted",
    "enable_auto_commit": _POSITIONS,
    "auto_commit_interval_ms": _POSITIONS,
    "enable_auto_offset_store": _POSITIONS,
    "isolation_level": "only committed records are read",
    "group_id": "a job's group is its name, wr.job(..., name=...); read_kafka(..., group=...) is for start='committed'",
    "group_instance_id": "say wr.job(..., instance=...)",
    "partition_assignment_strategy": "partitions are dealt by the cooperative sticky strategy",
    "max_poll_records": _EPOCHS,
    "max_poll_interval_ms": "say rebalance_timeout_ms: how long the end of an epoch may take when partitions move",
    "transactional_id": "it is made of the job's name: wr.job(..., name=...)",
    "enable_idempotence": _PRODUCER,
    "acks": _PRODUCER,
    "request_required_acks": _PRODUCER,
    "retries": _PRODUCER,
    "linger_ms": _EPOCHS,
    "batch_size": _EPOCHS,
    "queue_buffering_max_ms": _EPOCHS,
    "compression_type": "say write_kafka(..., compression=...)",
    "compression_codec": "say write_kafka(..., compression=...)",
    "partitioner": "records go where the Java client would put them",
    "key_serializer": "say write_kafka(..., key=..., format=...)",
    "value_serializer": "say write_kafka(..., format=...)",
    "key_deserializer": "say read_kafka(..., include=['key'])",
    "value_deserializer": "say read_kafka(..., format=..., schema=...)",
    "check_crcs": "it is always so",
    "sasl_mechanisms": "it is sasl_mechanism",
    "sasl_username": "it is sasl_plain_username",
    "sasl_user": "it is sasl_plain_username",
    "sasl_password": "it is sasl_plain_password",
    "sasl_jaas_config": _JAAS,
    "sasl_login_callback_handler_class": _TOKENS,
    "sasl_login_class": _JAAS,
    "sasl_oauthbearer_config": _TOKENS,
    "sasl_oauthbearer_token_endpoint_url": _TOKENS,
    "sasl_oauthbearer_method": _TOKENS,
    "oauth_cb": _TOKENS,
    "sasl_kerberos_service_name": "Kerberos is not supported",
    "ssl_ca_location": "it is ssl_cafile",
    "ssl_ca_pem": "it is ssl_cafile, the path of a file",
    "ssl_certificate_location": "it is ssl_certfile",
    "ssl_certificate_pem": "it is ssl_certfile, the path of a file",
    "ssl_key_location": "it is ssl_keyfile",
    "ssl_key_pem": "it is ssl_keyfile, the path of a file",
    "ssl_key_password": "it is ssl_password",
    "ssl_crl_location": "it is ssl_crlfile",
    "ssl_truststore_location": _PEM,
    "ssl_truststore_password": _PEM,
    "ssl_truststore_type": _PEM,
    "ssl_truststore_certificates": _PEM,
    "ssl_keystore_location": _PEM,
    "ssl_keystore_password": "it is ssl_password, that of the key",
    "ssl_keystore_type": _PEM,
    "ssl_keystore_key": _PEM,
    "ssl_keystore_certificate_chain": _PEM,
    "ssl_cipher_suites": "it is ssl_ciphers, with OpenSSL's names",
    "ssl_protocol": "TLS 1.2 is the least; give an ssl_context of your own for more",
    "ssl_enabled_protocols": "TLS 1.2 is the least; give an ssl_context of your own for more",
    "ssl_check_hostname": _HOST,
    "ssl_endpoint_identification_algorithm": _HOST,
    "enable_ssl_certificate_verification": "certificates are always verified; ssl_cafile says which are trusted",
}


@dataclass(frozen=True, slots=True)
class Waits:
    """How long brokers wait for a job, in milliseconds.

    `transaction_timeout_ms`: until a transaction that lies open is aborted. Of groups: `session_timeout_ms`, after
    which a member that is not heard of is left out; `heartbeat_interval_ms`, how often it is heard of;
    `rebalance_timeout_ms`, how long it may take to come to the end of an epoch when partitions move.
    """

    transaction_timeout_ms: int = 60_000
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """`settings` of connections, for kafka-python; they are equal when the options were."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: FetchLimits = field(default_factory=FetchLimits)
    waits: Waits = field(default_factory=Waits)


def kafka_options(given: Mapping[str, Any] | None) -> KafkaOptions:
    """What a user gives as ``kafka={...}``. Raises `PlanError` for a name that is none and for a value that cannot be.

    Secrets that are kept in the environment or in files are read now.
    """
    if given is not None and not isinstance(given, Mapping):
        raise PlanError("kafka= is a mapping of options, such as {'security_protocol': 'SSL'}")
    secure: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    waits: dict[str, int] = {}
    for spelled, value in (given or {}).items():
        name = _name(spelled)
        if name in security.OPTIONS:
            secure[name] = value
        elif name == "client_id":
            settings[name] = _client_id(value)
        elif name in _FETCH:
            ours, unit = _FETCH[name]
            limits[ours] = _count(spelled, value) if unit == 1 else _count(spelled, value) * unit
        elif name in _WAITS:
            waits[name] = _count(spelled, value)
        else:
            settings[name] = _count(spelled, value)
    _check_waits(waits)
    return KafkaOptions(
        {**settings, **security.secured(secure)}, replace(FetchLimits(), **limits), replace(Waits(), **waits)
    )


def _name(spelled: Any) -> str:
    if not isinstance(spelled, str):
        raise PlanError("the names of kafka options are texts")
    name = spelled.replace(".", "_").replace("-", "_").lower()
    if name in _NAMES:
        return name
    if name in _ELSEWHERE:
        raise PlanError(f"there is no kafka option {spelled!r}: {_ELSEWHERE[name]}")
    near = difflib.get_close_matches(name, [*_NAMES, *_ELSEWHERE], 1)
    if near and near[0] in _ELSEWHERE:
        raise PlanError(f"there is no kafka option {spelled!r}; as to {near[0]!r}: {_ELSEWHERE[near[0]]}")
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(_NAMES)}"
    raise PlanError(f"there is no kafka option {spelled!r}; {hint}")


def _count(spelled: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"kafka option {spelled!r} is a whole number of at least 1")
    return value


def _client_id(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise PlanError("kafka option 'client_id' is a name: a text that can be printed")
    return value


def _check_waits(given: Mapping[str, int]) -> None:
    waits = replace(Waits(), **given)
    if waits.heartbeat_interval_ms * 2 > waits.session_timeout_ms:
        raise PlanError(
            f"kafka options: heartbeat_interval_ms ({waits.heartbeat_interval_ms}) must be less than half of "
            f"session_timeout_ms ({waits.session_timeout_ms}), or one lost heartbeat ends the session"
        )
