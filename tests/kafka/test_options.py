"""Options of connections and secrets, without a broker: what is refused, and what is never shown (golden, law)."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import ssl
from pathlib import Path
from typing import Any

import pytest
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest

import windrow as wr
from tests.broker.certificates import Authority
from windrow.io.kafka import redaction, security
from windrow.io.kafka.client import _key
from windrow.io.kafka.options import kafka_options

CANARY = "canary-Zx9'\u00e4\\-pass"
SCRAM: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "alice",
    "sasl_plain_password": CANARY,
}


# -- secrets


def test_a_secret_is_three_stars_whatever_is_done_to_it() -> None:
    """law: no way to print, encode or carry it shows it; only `reveal` does."""
    secret = wr.Secret(CANARY)
    shown = [
        repr(secret), str(secret), f"{secret}", f"{secret!r:>10}", "%s" % secret, "{}".format(secret),  # noqa: UP031, UP032
        json.dumps(secret), json.dumps({"a": [secret]}), secret + "", "".join([secret]), repr({"p": secret}),
        repr(secret.encode()), pickle.dumps(secret).decode("latin-1"), repr(copy.deepcopy([secret])),
        str(bytes(secret, "utf-8")),
    ]  # fmt: skip
    assert not any(CANARY in text or repr(CANARY)[1:-1] in text for text in shown)
    assert all("***" in text for text in shown if "Secret" not in text and "_unpickled" not in text)
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == CANARY and copy.copy(secret).reveal() == CANARY and wr.Secret(secret) is secret
    assert secret != wr.Secret(CANARY) and secret != "***" and len({secret, wr.Secret(CANARY)}) == 2


def test_secrets_of_environment_and_files_are_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """law: what changes there is seen; pickles carry the name; a text travels nowhere."""
    monkeypatch.setenv("WINDROW_TEST_SECRET", "one")
    path = tmp_path / "secret"
    path.write_text("two\n")
    kept, filed = wr.Secret.from_env("WINDROW_TEST_SECRET"), wr.Secret.from_file(path)
    assert (kept.reveal(), filed.reveal()) == ("one", "two")
    monkeypatch.setenv("WINDROW_TEST_SECRET", "three")
    path.write_text("four")
    again = pickle.loads(pickle.dumps((kept, filed)))
    assert [secret.reveal() for secret in (kept, filed, *again)] == ["three", "four"] * 2
    with pytest.raises(wr.PlanError, match="does not travel"):
        pickle.loads(pickle.dumps(wr.Secret("x"))).reveal()


def test_secrets_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """golden: said when the program is written, and again when it is gone."""
    monkeypatch.delenv("WINDROW_TEST_SECRET", raising=False)
    with pytest.raises(wr.PlanError, match="environment variable WINDROW_TEST_SECRET is not set"):
        wr.Secret.from_env("WINDROW_TEST_SECRET")
    with pytest.raises(wr.PlanError, match="No such file"):
        wr.Secret.from_file(tmp_path / "nowhere")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(wr.PlanError, match="is empty"):
        wr.Secret.from_file(tmp_path / "empty")
    with pytest.raises(wr.PlanError, match="not empty"):
        wr.Secret("")


# -- names and values


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sasl.mechanisms", "it is sasl_mechanism"),
        ("sasl.username", "it is sasl_plain_username"),
        ("sasl.jaas.config", "texts that name code are not read"),
        ("ssl.ca.location", "it is ssl_cafile"),
        ("ssl.truststore.location", "files in PEM format"),
        ("sasl.oauthbearer.token.endpoint.url", "no URL is taken"),
        ("ssl.endpoint.identification.algorithm", "insecure_skip_hostname_check"),
        ("enable.ssl.certificate.verification", "always verified"),
        ("auto.offset.reset", r"start="),
        ("group.id", "wr.job"),
        ("enable.auto.commit", "part of every commit"),
        ("sasl_plain_pasword", "did you mean 'sasl_plain_password'"),
        ("sasl.usrname", "it is sasl_plain_username"),
        ("fetch_max_byte", "did you mean 'fetch_max_bytes'"),
        ("zzz", "there are: security_protocol"),
    ],
)
def test_names_that_are_none_are_met_with_those_that_are(name: str, said: str) -> None:
    """golden: and what was given for them is not repeated."""
    with pytest.raises(wr.PlanError, match=said) as error:
        wr.read_kafka("localhost:1", "bids", kafka={name: CANARY})
    assert CANARY not in str(error.value) and repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"security_protocol": "TLS"}, "one of PLAINTEXT, SSL"),
        ({"fetch.max.bytes": True}, "whole number"),
        ({"session_timeout_ms": 0}, "whole number"),
        ({"session_timeout_ms": 5_000}, "less than half"),
        ({"client_id": "a\nb"}, "can be printed"),
        ({"ssl_cafile": "ca.pem"}, "does nothing with security_protocol PLAINTEXT; say security_protocol=SSL"),
        ({"security_protocol": "SSL", "sasl_plain_password": CANARY}, "does nothing with security_protocol SSL"),
        ({"security_protocol": "SSL", "ssl_cafile": "/nowhere.pem"}, "there is no file"),
        ({"security_protocol": "SSL", "ssl_keyfile": __file__}, "give 'ssl_certfile'"),
        ({"security_protocol": "SSL", "ssl_cafile": __file__}, "no certificates in PEM format"),
        ({"security_protocol": "SSL", "ssl_certfile": __file__}, "no certificate that can be used"),
        ({"security_protocol": "SSL", "ssl_ciphers": "NOT-A-CIPHER"}, "names no cipher"),
        ({"security_protocol": "SSL", "ssl_context": "mine"}, "is an ssl.SSLContext"),
        ({"security_protocol": "SASL_SSL"}, "needs sasl_mechanism"),
        ({**SCRAM, "sasl_mechanism": "GSSAPI"}, "one of PLAIN, SCRAM"),
        ({**SCRAM, "sasl_plain_password": ""}, "needs sasl_plain_username and sasl_plain_password"),
        ({**SCRAM, "sasl_plain_password": 7}, "are texts or wr.Secret"),
        ({**SCRAM, "sasl_mechanism": "OAUTHBEARER"}, r"method token\(\)"),
        ({**SCRAM, "sasl_oauth_token_provider": object()}, "does nothing with sasl_mechanism SCRAM"),
        ({**SCRAM, "insecure_credentials_in_the_clear": "yes"}, "True or False"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], said: str) -> None:
    """golden: when the pipeline is written; values stay unsaid."""
    with pytest.raises(wr.PlanError, match=said) as error:
        kafka_options(options)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords_do_not_go_in_the_clear_unless_said(mechanism: str) -> None:
    """law"""
    options = {**SCRAM, "sasl_mechanism": mechanism, "security_protocol": "SASL_PLAINTEXT"}
    with pytest.raises(wr.PlanError, match="in the clear: use security_protocol SASL_SSL"):
        kafka_options(options)
    assert "ssl_context" not in kafka_options({**options, "insecure_credentials_in_the_clear": True}).settings


def test_fetching_and_waiting_have_units() -> None:
    """golden: points or underscores; Kafka's milliseconds."""
    chosen = kafka_options({"fetch.max.wait.ms": 20, "request_timeout_ms": 2_500, "session-timeout-ms": 9_000})
    assert (chosen.limits.wait_ms, chosen.limits.request_s, chosen.waits.session_timeout_ms) == (20, 2.5, 9_000)
    assert kafka_options(None).settings == {"security_protocol": "PLAINTEXT"}


# -- TLS


def test_the_context_verifies_everything(tmp_path: Path) -> None:
    """law: TLS 1.2 at least, certificates and names checked, ciphers taken; the same options share one context."""
    authority = Authority(tmp_path)
    options = {"security_protocol": "SSL", "ssl_cafile": authority.certificate, "ssl_ciphers": "ECDHE+AESGCM"}
    context = kafka_options(options).settings["ssl_context"]
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    old = {entry["name"] for entry in context.get_ciphers() if entry["protocol"] != "TLSv1.3"}
    assert old and all("GCM" in name and name.startswith("ECDHE") for name in old)
    assert kafka_options(dict(options)).settings["ssl_context"] is context
    loose = kafka_options({**options, "insecure_skip_hostname_check": True}).settings["ssl_context"]
    assert not loose.check_hostname and loose.verify_mode == ssl.CERT_REQUIRED


def test_a_certificate_of_ones_own_with_an_encrypted_key(tmp_path: Path) -> None:
    """law: the password is a secret; a wrong one is an error, and so is none at all."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client", password=CANARY)
    options = {"security_protocol": "SSL", "ssl_certfile": certificate, "ssl_keyfile": key}
    first = kafka_options({**options, "ssl_password": wr.Secret(CANARY)}).settings["ssl_context"]
    assert kafka_options({**options, "ssl_password": CANARY}).settings["ssl_context"] is first
    with pytest.raises(wr.PlanError, match="'ssl_password' is needed"):
        kafka_options(options)
    with pytest.raises(wr.PlanError, match="'ssl_password' is wrong"):
        kafka_options({**options, "ssl_password": "other"})


def test_a_context_of_the_users_own_is_looked_at() -> None:
    """law: one that trusts anybody is refused, whatever else is said."""
    context = ssl.create_default_context()
    options: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": context}
    assert kafka_options(options).settings["ssl_context"] is context
    with pytest.raises(wr.PlanError, match="beside 'ssl_context'"):
        kafka_options({**options, "ssl_ciphers": "ECDHE+AESGCM"})
    context.check_hostname = False
    with pytest.raises(wr.PlanError, match="does not check host names"):
        kafka_options(options)
    assert kafka_options({**options, "insecure_skip_hostname_check": True}).settings["ssl_context"] is context
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(wr.PlanError, match="anybody can pose as the broker"):
        kafka_options({**options, "insecure_skip_hostname_check": True})


# -- what kafka-python gets, and says


def test_settings_hide_the_password_and_kafka_python_finds_it() -> None:
    """law: printed settings show stars; the mechanisms send the real thing."""
    settings = kafka_options({**SCRAM, "sasl_plain_password": wr.Secret(CANARY)}).settings
    assert CANARY not in f"{settings} {settings!r} {settings['sasl_plain_password']}" and "***" in repr(settings)
    plain = get_sasl_mechanism("PLAIN")(**{**settings, "sasl_mechanism": "PLAIN"})
    assert plain.auth_bytes() == f"alice\0alice\0{CANARY}".encode()
    scram = get_sasl_mechanism("SCRAM-SHA-512")(**settings)
    assert scram._scram_client.password == CANARY.encode()


def test_a_token_provider_is_any_object_with_tokens() -> None:
    """law: asked at every log-in; equal for the same object, so that connections are shared."""

    class Tokens:
        asked = 0

        def token(self) -> str:
            self.asked += 1
            return wr.Secret(f"{CANARY}{self.asked}") if self.asked > 1 else f"{CANARY}1"

    given = Tokens()
    options = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": given}
    one, two = kafka_options(options).settings, kafka_options(options).settings
    sent = [get_sasl_mechanism("OAUTHBEARER")(**settings).auth_bytes() for settings in (one, two)]
    assert sent == [f"n,,\x01auth=Bearer {CANARY}{number}\x01\x01".encode() for number in (1, 2)]
    assert _key("a:1", one) == _key("a:1", two) and CANARY not in repr(one)
    with pytest.raises(wr.PlanError, match="method token"):
        kafka_options({**options, "sasl_oauth_token_provider": Tokens})


def test_connections_are_shared_by_equal_options_alone() -> None:
    """law: another password is another connection."""
    one, same = kafka_options(SCRAM).settings, kafka_options(dict(SCRAM)).settings
    other = kafka_options({**SCRAM, "sasl_plain_password": "other"}).settings
    assert _key("b:1,a:1", one) == _key("a:1, b:1", same) != _key("a:1,b:1", other)


def test_log_lines_of_kafka_python_carry_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """law: frames, messages of SASL, and a secret anywhere else, with its traceback."""
    redaction.install()
    redaction.install()
    caplog.set_level(logging.DEBUG)
    security.secured(SCRAM)
    protocol = KafkaProtocol()
    protocol.send_request(SaslAuthenticateRequest(CANARY.encode(), version=1))
    assert CANARY.encode() in protocol.send_bytes()
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("kafka.net.connection").exception("failed with %s and %r", CANARY, CANARY.encode())
    text = caplog.text
    assert CANARY not in text and repr(CANARY.encode())[2:-1] not in text and repr(CANARY)[1:-1] not in text
    assert "SaslAuthenticateRequest(***)" in text and "bytes" in text and "ValueError: ***" in text
    assert all(len(logging.getLogger(name).filters) == 1 for name in redaction._LOGGERS)


def test_a_connection_that_others_can_read_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """golden: not for this machine's own addresses, and not with TLS."""
    security.warn_if_open("localhost:1, 127.0.0.1:2,[::1]:3", {})
    security.warn_if_open("broker:9093", {"security_protocol": "SASL_SSL"})
    assert not caplog.records
    security.warn_if_open("localhost:1,broker:9092", {})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "connection to broker:9092 is not encrypted" in caplog.text
