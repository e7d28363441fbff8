"""Brokers that belong together: one, or three."""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.broker import tools
from tests.broker.jars import NEWEST, NoBrokerError, class_path
from tests.broker.node import START_S, Node, free_port

_ATTEMPTS = 3  # a free port can be taken by another before the broker has it


class Brokers:
    """A running cluster. Its folder has the data, the settings and what each broker says (``N/broker.log``)."""

    def __init__(self, nodes: list[Node], version: str) -> None:
        self.nodes = nodes
        self.version = version

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def restart(self, node: Node) -> None:
        """Start a broker that was stopped or killed, with its data and on its ports."""
        node.start()
        node.wait()

    def tool(self, name: str, *arguments: str, timeout_s: float = 60) -> str:
        """What one of Kafka's Java tools prints; see `tools`."""
        return tools.run(name, list(arguments), timeout_s)


@contextmanager
def brokers(
    nodes: int = 1,
    *,
    version: str = NEWEST,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
    controllers: int | None = None,
) -> Iterator[Brokers]:
    """A fresh cluster for the length of a ``with`` block."""
    root = folder or Path(tempfile.mkdtemp(prefix="windrow-broker-"))
    cluster = start(root, nodes, version=version, settings=settings, controllers=controllers)
    try:
        yield cluster
    finally:
        cluster.stop()
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)


def start(
    root: Path,
    nodes: int = 1,
    *,
    version: str = NEWEST,
    settings: Mapping[str, str] | None = None,
    stays: bool = False,
    format_options: list[str] | None = None,
    controllers: int | None = None,
) -> Brokers:
    """Start a cluster below `root`, which must be empty. Raises `NoBrokerError` when it does not come up.

    `settings` are added to each broker's, with ``{port}`` and ``{controller}`` standing for its ports.
    Only the first `controllers` are controllers (all, unless said): the others can be down without an end of elections.
    """
    jars = class_path(version)
    for attempt in range(_ATTEMPTS):
        made = _make(root / f"try-{attempt}", nodes, jars, settings or {}, stays, controllers or nodes)
        # never with a dash in front, which the tool that formats the storage takes for an option
        cluster_id = base64.urlsafe_b64encode(b"w" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        for node in made:
            node.format(cluster_id, format_options or [])
        cluster = Brokers(made, version)
        try:
            for node in made:
                node.start()
            for node in made:
                node.wait()
            _wait_until_usable(cluster)
        except NoBrokerError:
            cluster.stop()
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return cluster
    raise AssertionError


def _make(root: Path, count: int, jars: str, settings: Mapping[str, str], stays: bool, controllers: int) -> list[Node]:
    ports = [(free_port(), free_port()) for _ in range(count)]
    voting = list(enumerate(ports, 1))[:controllers]
    voters = ",".join(f"{number}@127.0.0.1:{controller}" for number, (_, controller) in voting)
    made = []
    for number, (port, controller) in enumerate(ports, 1):
        folder = root / str(number)
        folder.mkdir(parents=True)
        ports_in = {name: value.replace("{port}", str(port)).replace("{controller}", str(controller))
                    for name, value in settings.items()}  # fmt: skip
        own = _settings(number, port, controller, voters, folder, count) | ports_in
        if number > controllers:
            own |= {"process.roles": "broker", "listeners": f"PLAINTEXT://127.0.0.1:{port}"}
        made.append(Node(folder, jars, number, port, controller, own, stays=stays))
    return made


def _settings(number: int, port: int, controller: int, voters: str, folder: Path, count: int) -> dict[str, str]:
    """A broker for tests: small, quick to start, and nothing is made unless it is asked for."""
    replicas, insync = str(min(count, 3)), str(min(count, 2))
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,  # what windrow makes for itself does not hang on one broker
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": insync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": insync,
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "log.cleaner.threads": "1",
        "log.cleaner.backoff.ms": "300",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "controlled.shutdown.enable": "true",
    }


def _wait_until_usable(cluster: Brokers) -> None:
    """Until every broker is registered with the controller: before that, no topic can be made on it."""
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","), request_timeout_ms=5_000)
            try:
                if len(admin.describe_cluster()["brokers"]) == len(cluster.nodes):
                    return
            finally:
                admin.close()
        except (KafkaError, OSError):
            pass
        time.sleep(0.1)
    raise NoBrokerError(f"the brokers did not find each other; the end of a log:\n{cluster.nodes[0].tail()}")
