"""The broker that tests run against is real, can be hurt, and is shared (law)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.outcomes import Skipped

from tests.broker import jars
from tests.broker.cluster import brokers
from tests.broker.tools import ToolError, run
from tests.conftest import need_broker

ROOT = Path(__file__).parents[2]


def test_java_tools_see_the_shared_broker(broker: str) -> None:
    at = ["--bootstrap-server", broker]
    run("topics", [*at, "--create", "--topic", "broker-test", "--partitions", "3"])
    assert "PartitionCount: 3" in run("topics", [*at, "--describe", "--topic", "broker-test"])
    with pytest.raises(ToolError, match="does not exist"):
        run("topics", [*at, "--describe", "--topic", "no-such-topic"])


@pytest.mark.slow
@pytest.mark.parametrize("version", [jars.NEWEST, jars.OLDER])
def test_a_broker_keeps_its_topics_through_a_kill(version: str) -> None:
    need_broker()
    with brokers(version=version) as cluster:
        at = ["--bootstrap-server", cluster.bootstrap]
        run("topics", [*at, "--create", "--topic", "kept", "--partitions", "2"])
        (node,) = cluster.nodes
        node.kill()
        cluster.restart(node)
        assert "PartitionCount: 2" in run("topics", [*at, "--describe", "--topic", "kept"])


@pytest.mark.slow
def test_three_brokers_replicate() -> None:
    need_broker()
    with brokers(3) as cluster:
        at = ["--bootstrap-server", cluster.bootstrap]
        run("topics", [*at, "--create", "--topic", "safe", "--partitions", "3", "--replication-factor", "3"])
        assert run("topics", [*at, "--describe", "--topic", "safe"]).count("Replicas:") == 3


def test_the_command_for_people(tmp_path: Path) -> None:
    need_broker()

    def command(name: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "tests.broker", name, "--folder", str(tmp_path / "b")]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert "no broker was started" in command("topics").stderr
    started = command("start")
    try:
        assert started.returncode == 0 and started.stdout.startswith("127.0.0.1:"), started.stderr
        assert "has a broker already" in command("start").stderr
        assert command("topics").returncode == 0
    finally:
        stopped = command("stop")
    assert stopped.returncode == 0 and not (tmp_path / "b").exists()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert jars.missing() == (
        "a Kafka broker needs a Java runtime, 17 or newer (openjdk-17-jre-headless) and Maven (maven)"
    )
    with pytest.raises(jars.NoBrokerError, match="needs a Java runtime"):
        jars.class_path()
    monkeypatch.setenv("REQUIRE_BROKER", "1")
    with pytest.raises(pytest.fail.Exception, match="REQUIRE_BROKER is set"):
        need_broker()
    monkeypatch.delenv("REQUIRE_BROKER")
    with pytest.raises(Skipped, match="Maven"):
        need_broker()
