"""What ``kafka={...}`` of a source may say: how to connect, and how much to fetch. Unknown names are refused."""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from windrow.errors import PlanError
from windrow.io.kafka.fetcher import FetchLimits

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_CONNECTION = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_oauth_token_provider",
)
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


def connection_and_limits(options: Mapping[str, Any]) -> tuple[dict[str, Any], FetchLimits]:
    """(settings of connections, limits of fetching); names with points or underscores. Values are never printed."""
    settings: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for spelled, value in options.items():
        name = spelled.replace(".", "_")
        if name in _CONNECTION:
            settings[name] = value
        elif name in _FETCH:
            ours, unit = _FETCH[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PlanError(f"kafka option {spelled!r} is a whole number of at least 1")
            limits[ours] = value if unit == 1 else value * unit
        else:
            near = difflib.get_close_matches(name, [*_CONNECTION, *_FETCH], 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join([*_CONNECTION, *_FETCH])}"
            raise PlanError(f"there is no kafka option {spelled!r}{hint}")
    return _secured(settings), replace(FetchLimits(), **limits)


def _secured(settings: dict[str, Any]) -> dict[str, Any]:
    protocol = settings.setdefault("security_protocol", "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise PlanError(f"kafka option 'security_protocol' is one of {', '.join(_PROTOCOLS)}")
    if protocol.endswith("SSL"):
        settings.setdefault("ssl_context", ssl.create_default_context())
    if protocol.startswith("SASL_") and "sasl_mechanism" not in settings:
        raise PlanError(f"security_protocol {protocol} needs sasl_mechanism")
    if protocol == "SASL_PLAINTEXT" and settings["sasl_mechanism"] in ("PLAIN", "OAUTHBEARER"):
        raise PlanError("a password or token would go over the network in the clear: use security_protocol SASL_SSL")
    return settings
