"""The client of a cluster, as far as it can be seen without one.

Kind: golden. Every wait has a deadline, every error is a sentence, and what is used of kafka-python's inside is there.
"""

from __future__ import annotations

import socket
import time

import kafka
import pytest
from kafka.net.manager import KafkaConnectionManager

from windrow.errors import BrokerError, FencedError
from windrow.io.kafka import answers, seams
from windrow.io.kafka.client import Cluster, release, shared


def test_nobody_there_is_said_by_the_deadline() -> None:
    started_s = time.monotonic()
    with pytest.raises(BrokerError, match=r"no broker of '127\.0\.0\.1:1' can be reached"):
        Cluster("127.0.0.1:1", timeout_s=0.5)
    assert time.monotonic() - started_s < 5


def test_a_broker_that_never_answers_is_given_up_by_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        started_s = time.monotonic()
        with pytest.raises(BrokerError, match="can be reached"):
            Cluster(address, timeout_s=0.5)
        assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("bootstrap", ["", "localhost", "localhost:x", "a:1,b"])
def test_bootstrap_servers_are_host_and_port(bootstrap: str) -> None:
    with pytest.raises(BrokerError, match="host:port"):
        Cluster(bootstrap)


def test_another_kafka_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "__version__", "3.1.0")
    seams.check.cache_clear()
    with pytest.raises(BrokerError, match=r"3\.1\.0 is installed.*pip install"):
        seams.check()
    monkeypatch.undo()
    seams.check.cache_clear()
    seams.check()


def test_a_seam_that_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "_CALLS", ((KafkaConnectionManager.close, ("moved",)),))
    seams.check.cache_clear()
    with pytest.raises(BrokerError, match=r"has changed inside \(KafkaConnectionManager\.close\)"):
        seams.check()
    monkeypatch.undo()
    seams.check.cache_clear()


def test_the_missing_acl_is_named() -> None:
    said = answers.error(29, "topic 'bids' cannot be written", "bids")
    assert isinstance(said, BrokerError)
    assert str(said) == (
        "topic 'bids' cannot be written: not allowed; the ACL for 'bids' is missing: "
        "Read and Describe on topics that are read, Write and Describe on topics that are written"
    )


def test_a_newer_owner_is_told_from_other_errors() -> None:
    assert isinstance(answers.error(90, "commit of epoch 7"), FencedError)
    assert isinstance(answers.error(47, "commit of epoch 7"), FencedError)
    assert not isinstance(answers.error(51, "commit of epoch 7"), FencedError)


def test_a_shared_client_that_was_closed_is_not_handed_out_again(broker: str) -> None:
    """law: whoever asks next gets one that works; giving the old one back changes nothing for it."""
    first = shared(broker)
    first.close()
    second = shared(broker)
    try:
        assert second is not first
        release(first)
        assert second.leaders([], 10.0) == {} and shared(broker) is second
        release(second)
    finally:
        release(second)
