"""A real broker with TLS, SASL and ACLs: what is let in, what is not, what is said, and what never is."""

from __future__ import annotations

import base64
import gc
import json
import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from tests.broker.certificates import Authority
from tests.broker.secure import SecureBroker, secured
from tests.conftest import need_broker

pytestmark = pytest.mark.slow

CANARY = "canary7Qx4word"
SCHEMA = wr.schema(n="int64")
ROWS = pa.table({"n": list(range(100))})


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    need_broker()
    folder = tmp_path_factory.mktemp("secure")
    with secured(folder, {"alice": CANARY, "bob": "builder"}, reauthenticate_ms=4_000) as broker:
        everything = ("Read", "Write", "Describe", "Create", "Alter")
        operations = " ".join(f"--operation {name}" for name in everything)
        topics = f"{operations} --operation Delete --topic open- --resource-pattern-type prefixed"
        id_ = "--operation Write --operation Describe --transactional-id open- --resource-pattern-type prefixed"
        group = "--operation Read --group open- --resource-pattern-type prefixed"
        for user in ("alice", "CN=client"):
            broker.allow(user, topics, id_, group)
        yield broker


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every line of every logger."""
    caplog.set_level(0)
    for name in ["", *(name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("kafka", "windrow"))]:
        caplog.set_level(0, name)
    return caplog


class Tokens:
    """Tokens that nobody has signed, each for a few seconds."""

    def __init__(self, user: str) -> None:
        self.asked = 0
        self._user = user

    def token(self) -> str:
        self.asked += 1
        now_s = time.time()
        parts: list[dict[str, Any]] = [
            {"alg": "none"},
            {"sub": self._user, "iat": now_s, "exp": now_s + 5, "scope": CANARY},
        ]
        return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), ""])


def through(bootstrap: str, options: dict[str, Any]) -> list[int]:
    """Rows written to a topic and read back, by jobs that keep their ledgers there."""
    topic = f"open-{uuid.uuid4().hex[:8]}"
    sink = wr.from_arrow(ROWS, name="rows").write_kafka(bootstrap, topic, create=True, partitions=1, kafka=options)
    wr.job(sink, name=f"{topic}-writer", shards=1).run()
    read = wr.read_kafka(bootstrap, topic, schema=SCHEMA, end="latest", kafka=options)
    copy = wr.job(read.write_kafka(bootstrap, f"{topic}-copy", create=True, partitions=1, kafka=options),
                  name=f"{topic}-copier", shards=1)  # fmt: skip
    copy.run()
    again = wr.read_kafka(bootstrap, f"{topic}-copy", schema=SCHEMA, end="latest", kafka=options)
    deadline_s = time.monotonic() + 10  # the markers of a transaction are written after it has ended
    while True:
        values: list[int] = again.collect()["n"].to_pylist()
        if len(values) == len(ROWS) or time.monotonic() > deadline_s:
            return values
        time.sleep(0.05)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_in_and_out_over_sasl(secure: SecureBroker, mechanism: str, debug: pytest.LogCaptureFixture) -> None:
    """law: every mechanism works, and no line of any log at any level has the password or the token in it."""
    options = secure.options(mechanism, "alice", wr.Secret(CANARY))
    tokens = Tokens("alice")
    if mechanism == "OAUTHBEARER":
        del options["sasl_plain_username"], options["sasl_plain_password"]
        options["sasl_oauth_token_provider"] = tokens
    assert through(secure.sasl, options) == ROWS["n"].to_pylist()
    lines = [record.getMessage() + str(record.exc_text) + repr(record.args) for record in debug.records]
    assert any("SaslAuthenticateRequest(***)" in line for line in lines)  # they were listened to
    kept_from_all = [CANARY, base64.b64encode(CANARY.encode()).decode()[:-2], "eyJhbGciOiAibm9uZSJ9"]
    assert not [line for line in lines for secret in kept_from_all if secret in line]
    assert mechanism != "OAUTHBEARER" or tokens.asked > 1


def test_credentials_are_given_again_while_a_job_runs(secure: SecureBroker) -> None:
    """law: the broker asks every four seconds (KIP-368), in the middle of whatever goes on; nothing is lost."""
    options = secure.options("SCRAM-SHA-512", "alice", wr.Secret(CANARY))
    topic = f"open-{uuid.uuid4().hex[:8]}"
    count = 2_000

    def slowly() -> Iterator[pa.RecordBatch]:
        for number in range(0, count, 100):
            time.sleep(0.5)
            yield pa.record_batch({"n": list(range(number, number + 100))})

    sink = wr.from_arrow(slowly(), schema=SCHEMA, name="slow").write_kafka(
        secure.sasl, topic, create=True, partitions=1, kafka=options
    )
    wr.job(sink, name=f"{topic}-writer", shards=1, limits=wr.Limits(epoch_rows=100)).run()
    time.sleep(0.5)
    rows = wr.read_kafka(secure.sasl, topic, schema=SCHEMA, end="latest", kafka=options).collect()
    assert rows["n"].to_pylist() == list(range(count))


def test_a_certificate_of_ones_own(secure: SecureBroker) -> None:
    """law: mTLS lets in whoever has one, and nobody else."""
    certificate, key = secure.authority.issue("client")
    options: dict[str, Any] = {"security_protocol": "SSL", "ssl_cafile": secure.authority.certificate}
    own = {**options, "ssl_certfile": certificate, "ssl_keyfile": key}
    assert through(secure.tls, own) == ROWS["n"].to_pylist()
    with pytest.raises(wr.BrokerError, match="can be reached"):
        wr.read_kafka(secure.tls, "open-x", schema=SCHEMA, end="latest", kafka=options).collect()


def test_wrong_credentials_end_soon_and_without_a_storm(secure: SecureBroker, debug: pytest.LogCaptureFixture) -> None:
    """law: an error by the deadline that names the broker and not the password; a few attempts, not hundreds."""
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        options = secure.options(mechanism, "alice", "wrong-" + CANARY)
        started_s = time.monotonic()
        with pytest.raises(wr.BrokerError, match=r"no broker of .* can be reached: .*") as error:
            wr.read_kafka(secure.sasl, "open-x", schema=SCHEMA, end="latest", kafka=options).collect()
        assert time.monotonic() - started_s < 20
        assert CANARY not in str(error.value) and "uthentication" in str(error.value)
    attempts = [record for record in debug.records if "Attempting bootstrap" in record.getMessage()]
    assert 0 < len(attempts) < 60
    assert CANARY not in debug.text


# kafka-python 3.0.12 leaves the socket of a handshake that failed to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_not_the_one_is_not_spoken_to(secure: SecureBroker, tmp_path: Path) -> None:
    """law: another name than the certificate's, or an authority that is not trusted; a password never gets there."""
    port = secure.sasl.rpartition(":")[2]
    options = secure.options("PLAIN", "alice", CANARY)
    with pytest.raises(wr.BrokerError, match="can be reached"):
        wr.read_kafka(f"localhost:{port}", "open-x", schema=SCHEMA, end="latest", kafka=options).collect()
    other = {**options, "ssl_cafile": Authority(tmp_path, "somebody").certificate}
    with pytest.raises(wr.BrokerError, match="can be reached"):
        wr.read_kafka(secure.sasl, "open-x", schema=SCHEMA, end="latest", kafka=other).collect()
    gc.collect()


def test_the_acl_that_is_missing_is_named(secure: SecureBroker) -> None:
    """golden: of reading, writing, and of the transactional id."""
    alice = secure.options("SCRAM-SHA-512", "alice", wr.Secret(CANARY))
    bob = secure.options("SCRAM-SHA-512", "bob", wr.Secret("builder"))
    topic = f"open-{uuid.uuid4().hex[:8]}"
    fill = wr.from_arrow(ROWS, name="rows").write_kafka(secure.sasl, topic, create=True, partitions=1, kafka=alice)
    wr.job(fill, name=f"{topic}-writer", shards=1).run()
    with pytest.raises(wr.BrokerError, match=r"ACL"):
        wr.read_kafka(secure.sasl, topic, schema=SCHEMA, end="latest", kafka=bob).collect()
    secure.allow("bob", f"--operation Read --topic {topic}")
    read = wr.read_kafka(secure.sasl, topic, schema=SCHEMA, end="latest", kafka=bob)
    assert read.collect().num_rows == len(ROWS)
    sink = wr.job(read.write_kafka(secure.sasl, topic, kafka=bob), name=f"{topic}-bob", shards=1)
    with pytest.raises(wr.BrokerError, match=r"ACL.*missing"):
        sink.run()
