"""A broker with TLS, mTLS, SASL and ACLs beside its plain listener, on which everybody may do everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.broker.certificates import Authority
from tests.broker.cluster import Brokers, start
from tests.broker.node import free_port

_MODULES = {
    "plain": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "scram-sha-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "scram-sha-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "oauthbearer": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_UNSIGNED = (
    "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
)


@dataclass(frozen=True)
class SecureBroker:
    """`admin`: without any security; `sasl`: SASL over TLS; `tls`: a certificate of one's own is needed."""

    cluster: Brokers
    authority: Authority
    sasl: str
    tls: str

    @property
    def admin(self) -> str:
        return self.cluster.bootstrap

    def allow(self, user: str, *acls: str) -> None:
        """For example ``allow("alice", "--operation Read --topic bids")``."""
        for acl in acls:
            who = ["--bootstrap-server", self.admin, "--add", "--allow-principal", f"User:{user}"]
            self.cluster.tool("acls", *who, *acl.split())

    def options(self, mechanism: str, user: str, password: Any) -> dict[str, Any]:
        """``kafka={...}`` for the listener with SASL."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": self.authority.certificate,
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }


@contextmanager
def secured(folder: Path, users: dict[str, str], *, reauthenticate_ms: int = 0) -> Iterator[SecureBroker]:
    """One broker that knows these users (name -> password) by PLAIN and SCRAM, and tokens that nobody has signed."""
    authority = Authority(folder / "certificates")
    certificate, key = authority.issue("broker")
    store = folder / "certificates" / "broker-store.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    sasl, tls = free_port(), free_port()
    settings = _settings(sasl, tls, store, authority.certificate, users, reauthenticate_ms)
    scram = [
        f"SCRAM-SHA-{bits}=[name={name},password={password}]" for name, password in users.items() for bits in (256, 512)
    ]
    options = [part for entry in scram for part in ("--add-scram", entry)]
    cluster = start(folder / "broker", settings=settings, format_options=options)
    try:
        yield SecureBroker(cluster, authority, f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}")
    finally:
        cluster.stop()


def _settings(
    sasl: int, tls: int, store: Path, trusted: Path, users: dict[str, str], reauthenticate_ms: int
) -> dict[str, str]:
    secure = f"SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}"
    settings = {
        "listeners": f"PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},{secure}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},{secure}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": ",".join(name.upper() for name in _MODULES),
        "connections.max.reauth.ms": str(reauthenticate_ms),
        "listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class": _UNSIGNED,
    }
    named = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    extra = {"plain": named, "oauthbearer": 'unsecuredLoginStringClaim_sub="admin"'}
    for name, module in _MODULES.items():
        entry = f"{module} required {extra.get(name, '')};"
        settings[f"listener.name.sasl_ssl.{name}.sasl.jaas.config"] = entry
    return settings
