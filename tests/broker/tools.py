"""Kafka's own command line tools: what tests compare with."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.broker.jars import JAVA, TOOLS, class_path

#: Short name -> Java class.
CLASSES = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "acls": "org.apache.kafka.tools.AclCommand",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}


class ToolError(Exception):
    """A tool did not do what it was asked."""


def run(name: str, arguments: Sequence[str], timeout_s: float = 60, java: Sequence[str] = (*JAVA, "-Xmx256m")) -> str:
    """What the tool prints; raises `ToolError` with it when it fails. `java`: how, where the tool's speed matters."""
    command = [*java, "-cp", class_path(TOOLS), CLASSES[name], *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name} did not end within {timeout_s} s") from None
    if done.returncode != 0:
        raise ToolError(f"{name} {' '.join(arguments)}: {(done.stdout + done.stderr)[-2_000:]}")
    return done.stdout
