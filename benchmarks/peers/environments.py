"""Where other engines live: a virtual environment for each, and jars, all pinned and made once.

``benchmarks/peers/requirements/ENGINE.txt`` says what is installed, ``benchmarks/peers/jars/ENGINE.xml`` (a Maven
project without code) which jars are fetched. Both lie in the cache under a name with a hash of that file, so that
another version is another environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PEERS = Path(__file__).parent
_INSTALL_S = 900


class MissingError(Exception):
    """An environment cannot be made here; says what is missing."""


def python_of(engine: str, cache: Path) -> Path:
    """The Python of this engine's environment, which is made when it is not there. Raises `MissingError`."""
    wanted = _PEERS / "requirements" / f"{engine}.txt"
    folder = cache / f"{engine}-{_hash(wanted.read_bytes())}"
    python = folder / "bin" / "python"
    with _alone(folder) as made:
        if not made:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted], engine)
    return python


def versions_of(engine: str) -> dict[str, str]:
    """Package -> version, as pinned."""
    lines = (_PEERS / "requirements" / f"{engine}.txt").read_text().splitlines()
    pinned = (line.split("#")[0].strip().partition("==") for line in lines)
    return {name: version for name, _, version in pinned if name}


def jars_of(engine: str, cache: Path) -> str:
    """A class path of the jars that the engine needs beside its packages, fetched when they are not there."""
    return compiled(_PEERS / "jars" / f"{engine}.xml", cache)


def compiled(project: Path, cache: Path) -> str:
    """A class path of a Maven project: what it compiles to, if there is code, and its dependencies.

    `project`: its folder, or its file when there is no code. Raises `MissingError`.
    """
    sources = [project] if project.is_file() else sorted(p for p in project.rglob("*") if p.is_file())
    folder = cache / f"{project.stem}-{_hash(b''.join(path.read_bytes() for path in sources))}"
    listed = folder / "classpath"
    with _alone(folder) as made:
        if not made:
            if shutil.which("mvn") is None or shutil.which("java") is None:
                raise MissingError(f"{project.stem} needs java (17 or newer) and mvn")
            pom = project if project.is_file() else project / "pom.xml"
            goals = ["dependency:build-classpath", f"-Dmdep.outputFile={listed}"]
            goals = goals if project.is_file() else ["compile", *goals]
            _run(["mvn", "--batch-mode", "--quiet", "-f", pom, f"-Dto={folder}", *goals], project.stem)
    return f"{folder / 'classes'}:{listed.read_text()}" if project.is_dir() else listed.read_text()


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """One process at a time; whether the folder was finished before. It is once the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    finished = folder / "finished"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = finished.exists()
        if not made:
            folder.mkdir(exist_ok=True)
        yield made
        finished.touch()


def _run(command: Sequence[str | Path], what: str) -> None:
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=_INSTALL_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MissingError(f"{what} was not set up within {_INSTALL_S} s") from None
    if done.returncode != 0:
        said = re.sub(r"\(?https?://\S+", "", done.stdout + done.stderr).strip()
        raise MissingError(f"{what} could not be set up: {said[-600:]}")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]
