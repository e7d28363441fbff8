"""One broker process: its folder, its settings, and what can be done to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.broker.jars import JAVA, NoBrokerError

START_S = 90
#: Dies with the process that started it, also when that is killed.
_WATCHED = (
    "while kill -0 {parent} 2>/dev/null && kill -0 {child} 2>/dev/null; do sleep 1; done; kill -9 {child} 2>/dev/null"
)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Node:
    """A broker that is its own controller, or one of three."""

    folder: Path
    class_path: str
    number: int
    port: int
    controller_port: int
    settings: Mapping[str, str]
    memory: str = "384m"
    stays: bool = False  # outlives the process that started it
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    def format(self, cluster_id: str, extra: list[str]) -> None:
        """Make the data folder; needed once."""
        (self.folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in self.settings.items()))
        command = [*JAVA, "-Xmx128m", "-cp", self.class_path, "kafka.tools.StorageTool", "format", "-t", cluster_id]
        command += ["-c", str(self.folder / "server.properties"), *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
        if done.returncode != 0:
            raise NoBrokerError(f"the storage of a broker could not be made: {(done.stdout + done.stderr)[-1_500:]}")

    def start(self) -> None:
        """Start the process; `wait` says when it can be used."""
        command = [*JAVA, f"-Xmx{self.memory}", "-cp", self.class_path, "kafka.Kafka"]
        command.append(str(self.folder / "server.properties"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | self.environment,
            )  # fmt: skip
        (self.folder / "pid").write_text(str(self.process.pid))
        if not self.stays:
            watch = _WATCHED.format(parent=os.getpid(), child=self.process.pid)
            subprocess.run(["sh", "-c", f"({watch}) >/dev/null 2>&1 &"], start_new_session=True, check=True)

    def wait(self, timeout_s: float = START_S) -> None:
        """Return when the broker takes connections; raises `NoBrokerError` with the end of its log when it does not."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self.process is not None and self.process.poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise NoBrokerError(f"broker {self.number} did not start; the end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what the broker has said."""
        return self.log.read_text(errors="replace")[-3_000:] if self.log.exists() else ""

    def leave(self) -> int:
        """Let the process live on without us; its number."""
        assert self.process is not None
        process, self.process = self.process, None
        process.returncode = 0  # or Python warns that it still runs
        return process.pid

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: there, but silent."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; what it had not written is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A clean shutdown; killed when that takes too long."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process = None
