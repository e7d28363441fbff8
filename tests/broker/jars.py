"""Apache Kafka's jars: resolved once with mvn, remembered as a class path in a cache folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

#: The broker that is tested with, and one that only knows the transactions before KIP-890.
NEWEST = "4.4.0"
OLDER = "3.9.2"
#: The version whose command line tools are used, with whichever broker: those of the newest are not to be had.
TOOLS = "4.3.1"
#: How everything of Kafka's is run: quick to start rather than quick.
JAVA = [
    *("java", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
_SCALA = "2.13"
_RESOLVE_S = 600

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>windrow</groupId><artifactId>broker</artifactId><version>1</version>
<packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{scala}</artifactId><version>{version}</version></dependency>
{tools}<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
_TOOLS_DEPENDENCY = f"""
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{TOOLS}</version></dependency>
"""


class NoBrokerError(Exception):
    """A broker cannot be run here; says what to install."""


def missing() -> str | None:
    """What must be installed before a broker can be run; None: nothing."""
    lacking = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if not lacking:
        return None
    packages = {"java": "a Java runtime, 17 or newer (openjdk-17-jre-headless)", "mvn": "Maven (maven)"}
    return "a Kafka broker needs " + " and ".join(packages[name] for name in lacking)


def cache() -> Path:
    """Where class paths are kept: WINDROW_BROKER_CACHE, or a folder of the user."""
    given = os.environ.get("WINDROW_BROKER_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "windrow" / "brokers"


def class_path(version: str = NEWEST) -> str:
    """The jars of a version as java wants them; fetched when they are not there.

    Raises `NoBrokerError` when java or mvn is missing, or the jars cannot be had.
    """
    lacking = missing()
    if lacking:
        raise NoBrokerError(lacking)
    folder = cache() / f"kafka-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "classpath"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes start at once; one of them fetches
        if not _is_complete(listed):
            _resolve(folder, listed, version)
    return listed.read_text()


def _is_complete(listed: Path) -> bool:
    return listed.exists() and all(Path(jar).exists() for jar in listed.read_text().split(":"))


def _resolve(folder: Path, listed: Path, version: str) -> None:
    pom = _POM.format(scala=_SCALA, version=version, tools=_TOOLS_DEPENDENCY if version == TOOLS else "")
    (folder / "pom.xml").write_text(pom)
    fresh = folder / "classpath.new"
    command = ["mvn", "--batch-mode", "--quiet", "dependency:build-classpath", f"-Dmdep.outputFile={fresh}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_RESOLVE_S, check=False)
    except subprocess.TimeoutExpired:
        raise NoBrokerError(f"mvn did not fetch Kafka {version} within {_RESOLVE_S} s") from None
    if done.returncode != 0:
        raise NoBrokerError(f"mvn could not fetch Kafka {version}: {(done.stdout + done.stderr)[-1_500:]}")
    fresh.replace(listed)
