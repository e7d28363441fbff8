"""How a connection is secured: the TLS context that we make or check, SASL credentials, and what is refused.

What goes wrong fails closed: certificates are always verified, names too unless that is switched off by an option that
says so, and passwords and tokens do not go over connections that others can read. kafka-python 3.0.12 would accept
``ssl_ciphers`` and ignore it, and only warn of a password in the clear; so the context is made here.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from windrow.errors import PlanError
from windrow.io.kafka import redaction
from windrow.secret import HIDDEN, Secret

log = logging.getLogger(__name__)

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
#: Names of options, for everything here.
OPTIONS = (
    "security_protocol",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_crlfile",
    "ssl_ciphers",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_oauth_token_provider",
    "insecure_skip_hostname_check",
    "insecure_credentials_in_the_clear",
)
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")
_TLS = tuple(name for name in OPTIONS if name.startswith("ssl_"))
_SASL = tuple(name for name in OPTIONS if name.startswith("sasl_"))

#: The same options give the same context, so that connections can be shared; a file that was changed gives another one.
_contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}
_PROCESS_KEY = os.urandom(32)


class Password(str):
    """A password as kafka-python needs it, a text; shown as ``***`` wherever the settings are printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HIDDEN


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """The user's object as kafka-python wants it; two for the same object are equal."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = given

    def token(self) -> str:
        """A token that has not expired; asked for on the thread of the connections at every log-in."""
        made = self._given.token()
        text = made.reveal() if isinstance(made, Secret) else made
        if not isinstance(text, str) or not text:
            raise PlanError("sasl_oauth_token_provider: token() must give a text")
        redaction.hide(text)
        return text  # kafka-python formats it, so it cannot be a `Password`

    def extensions(self) -> dict[str, str]:
        given = getattr(self._given, "extensions", None)
        return dict(given()) if callable(given) else {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenProvider) and other._given is self._given

    def __hash__(self) -> int:
        return id(self._given)

    def __repr__(self) -> str:
        return f"TokenProvider({type(self._given).__name__})"


def secured(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of kafka-python's connections that these options ask for.

    Raises `PlanError` for what does not fit together, and for what would not be safe.
    """
    protocol = options.get("security_protocol", "PLAINTEXT")
    if protocol not in PROTOCOLS:
        raise PlanError(f"kafka option 'security_protocol' is one of {', '.join(PROTOCOLS)}")
    for name in ("insecure_skip_hostname_check", "insecure_credentials_in_the_clear"):
        if not isinstance(options.get(name, False), bool):
            raise PlanError(f"kafka option {name!r} is True or False")
    settings: dict[str, Any] = {"security_protocol": protocol}
    _unused(options, _TLS, protocol.endswith("SSL"), protocol)
    _unused(options, _SASL, protocol.startswith("SASL_"), protocol)
    if protocol.endswith("SSL"):
        settings["ssl_context"] = _context(options)
    if protocol.startswith("SASL_"):
        settings.update(_credentials(options, protocol))
    return settings


def warn_if_open(bootstrap: str, settings: Mapping[str, Any]) -> None:
    """Log a warning when what is read and written can be seen, and changed, on the way to another machine."""
    if settings.get("security_protocol", "PLAINTEXT").endswith("SSL"):
        return
    away = [server for server in bootstrap.split(",") if not _is_loopback(server.strip())]
    if away:
        log.warning(
            "the connection to %s is not encrypted: whoever is on the way can read and change what goes over it; "
            "kafka={'security_protocol': 'SSL'} (or SASL_SSL) encrypts it",
            ", ".join(away),
        )


def _is_loopback(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unused(options: Mapping[str, Any], names: tuple[str, ...], used: bool, protocol: str) -> None:
    """An option that does nothing is a mistake: somebody believes to be protected by it."""
    given = [name for name in names if options.get(name) is not None]
    if given and not used:
        fitting = [p for p in PROTOCOLS if (p.endswith("SSL") if names is _TLS else p.startswith("SASL_"))]
        raise PlanError(
            f"kafka option {given[0]!r} does nothing with security_protocol {protocol}; "
            f"say security_protocol={' or '.join(fitting)}"
        )


# -- TLS


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    skip = options.get("insecure_skip_hostname_check", False)
    given = options.get("ssl_context")
    if given is not None:
        return _checked(given, options, skip)
    files = {name: _file(name, options[name]) for name in _FILES if options.get(name) is not None}
    if ("ssl_keyfile" in files or options.get("ssl_password") is not None) and "ssl_certfile" not in files:
        raise PlanError("kafka options 'ssl_keyfile' and 'ssl_password' belong to a certificate: give 'ssl_certfile'")
    ciphers = options.get("ssl_ciphers")
    if ciphers is not None and not isinstance(ciphers, str):
        raise PlanError("kafka option 'ssl_ciphers' is a list of OpenSSL's cipher names with ':' between them")
    password = options.get("ssl_password")
    secret = None if password is None else Secret(password)
    digest = b"" if secret is None else hmac.digest(_PROCESS_KEY, secret.reveal().encode(), "sha256")
    key = (tuple((name, path, *_stamp(path)) for name, path in sorted(files.items())), digest, ciphers, skip)
    if key not in _contexts:
        _contexts[key] = _made(files, secret, ciphers, skip)
    return _contexts[key]


def _made(at: Mapping[str, str], password: Secret | None, ciphers: str | None, skip: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not skip
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)  # of TLS 1.2; those of 1.3 are all good, and OpenSSL keeps them
        except ssl.SSLError:
            raise PlanError("kafka option 'ssl_ciphers' names no cipher that OpenSSL has here") from None
    try:
        if "ssl_cafile" in at:
            context.load_verify_locations(at["ssl_cafile"])
        else:
            context.load_default_certs()
        if "ssl_crlfile" in at:
            context.load_verify_locations(at["ssl_crlfile"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (ssl.SSLError, OSError):
        names = " or ".join(repr(name) for name in ("ssl_cafile", "ssl_crlfile") if name in at)
        raise PlanError(f"kafka option {names}: no certificates in PEM format can be read there") from None
    if "ssl_certfile" in at:
        _load_own(context, at, password)
    return context


def _load_own(context: ssl.SSLContext, at: Mapping[str, str], password: Secret | None) -> None:
    def ask() -> str:  # without it OpenSSL would ask at the terminal
        if password is None:
            raise PlanError("the private key is encrypted: kafka option 'ssl_password' is needed")
        return password.reveal()

    try:
        context.load_cert_chain(at["ssl_certfile"], at.get("ssl_keyfile"), ask)
    except (ssl.SSLError, OSError):
        raise PlanError(
            f"kafka option 'ssl_certfile': {at['ssl_certfile']} with its key is no certificate that can be used: "
            "not in PEM format, the key belongs to another one, or 'ssl_password' is wrong"
        ) from None


def _checked(given: Any, options: Mapping[str, Any], skip: bool) -> ssl.SSLContext:
    """A context of the user's own; nothing in it is changed."""
    if not isinstance(given, ssl.SSLContext):
        raise PlanError("kafka option 'ssl_context' is an ssl.SSLContext")
    beside = [name for name in _TLS if name != "ssl_context" and options.get(name) is not None]
    if beside:
        raise PlanError(f"kafka option {beside[0]!r} does nothing beside 'ssl_context': put it into the context")
    if given.verify_mode != ssl.CERT_REQUIRED:
        raise PlanError(
            "kafka option 'ssl_context' does not verify certificates, so that anybody can pose as the broker; "
            "trust the broker's certificate instead: 'ssl_cafile'"
        )
    if not given.check_hostname and not skip:
        raise PlanError(
            "kafka option 'ssl_context' does not check host names, so that the owner of any trusted certificate can "
            "pose as the broker; if that is meant, say 'insecure_skip_hostname_check': True"
        )
    if given.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise PlanError("kafka option 'ssl_context' allows versions of TLS before 1.2; set its minimum_version")
    return given


def _file(name: str, given: Any) -> str:
    if not isinstance(given, str | Path) or isinstance(given, Secret):
        raise PlanError(f"kafka option {name!r} is the path of a file")
    path = Path(given)
    if not path.is_file():
        raise PlanError(f"kafka option {name!r}: there is no file {path}")
    return str(path.resolve())


def _stamp(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


# -- SASL


def _credentials(options: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    mechanism = options.get("sasl_mechanism")
    if mechanism is None:
        raise PlanError(f"security_protocol {protocol} needs sasl_mechanism: one of {', '.join(MECHANISMS)}")
    if mechanism not in MECHANISMS:
        raise PlanError(f"kafka option 'sasl_mechanism' is one of {', '.join(MECHANISMS)}")
    if protocol == "SASL_PLAINTEXT" and not options.get("insecure_credentials_in_the_clear", False):
        raise PlanError(
            f"with SASL_PLAINTEXT the credentials of {mechanism} would go over the network in the clear: use "
            "security_protocol SASL_SSL; if it is meant, say 'insecure_credentials_in_the_clear': True"
        )
    if mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": _provider(options)}
    if options.get("sasl_oauth_token_provider") is not None:
        raise PlanError(f"kafka option 'sasl_oauth_token_provider' does nothing with sasl_mechanism {mechanism}")
    user, password = options.get("sasl_plain_username"), options.get("sasl_plain_password")
    if not user or not password:
        raise PlanError(f"sasl_mechanism {mechanism} needs sasl_plain_username and sasl_plain_password")
    if not isinstance(user, str) or not isinstance(password, str):
        raise PlanError("kafka options 'sasl_plain_username' and 'sasl_plain_password' are texts or wr.Secret")
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user.reveal() if isinstance(user, Secret) else user,
        "sasl_plain_password": _revealed(password),
    }


def _provider(options: Mapping[str, Any]) -> TokenProvider:
    given = options.get("sasl_oauth_token_provider")
    if given is None or isinstance(given, type) or not callable(getattr(given, "token", None)):
        raise PlanError(
            "sasl_mechanism OAUTHBEARER needs sasl_oauth_token_provider: an object whose method token() gives a token "
            "that has not expired. It keeps the token and renews it; no URL is taken from options"
        )
    for name in ("sasl_plain_username", "sasl_plain_password"):
        if options.get(name) is not None:
            raise PlanError(f"kafka option {name!r} does nothing with sasl_mechanism OAUTHBEARER")
    return TokenProvider(given)


def _revealed(password: str) -> Password:
    text = password.reveal() if isinstance(password, Secret) else password
    redaction.hide(text)
    return Password(text)
