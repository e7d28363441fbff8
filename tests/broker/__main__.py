"""``python -m tests.broker start | stop | topics``: a real broker for people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.broker import tools
from tests.broker.cluster import start
from tests.broker.jars import NEWEST, NoBrokerError
from tests.broker.tools import ToolError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run a real Apache Kafka on loopback ports.",
)
Folder = Annotated[Path, typer.Option(help="Where its data and logs are.")]
_DEFAULT = Path("broker-data")


@app.command(name="start")
def start_(
    folder: Folder = _DEFAULT,
    version: Annotated[str, typer.Option(help="Of Apache Kafka.")] = NEWEST,
    nodes: Annotated[int, typer.Option(min=1, max=3, help="Brokers.")] = 1,
) -> None:
    """Start brokers in the background and print their address."""
    state = folder / "state.json"
    if state.exists():
        bootstrap = json.loads(state.read_text())["bootstrap"]
        raise NoBrokerError(f"{folder} has a broker already: {bootstrap}; stop it first")
    folder.mkdir(parents=True, exist_ok=True)
    typer.echo("starting (the jars are fetched the first time) ...", err=True)
    cluster = start(folder / "data", nodes, version=version, stays=True)
    pids = [node.leave() for node in cluster.nodes]
    state.write_text(json.dumps({"bootstrap": cluster.bootstrap, "pids": pids, "version": version}))
    typer.echo(cluster.bootstrap)


@app.command()
def stop(folder: Folder = _DEFAULT) -> None:
    """Stop the brokers and remove their data."""
    known = _known(folder)
    for pid in known["pids"]:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
        deadline_s = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


@app.command()
def topics(folder: Folder = _DEFAULT) -> None:
    """Describe the topics there are."""
    known = _known(folder)
    typer.echo(tools.run("topics", ["--bootstrap-server", known["bootstrap"], "--describe"]), nl=False)


def _known(folder: Path) -> dict[str, Any]:
    state = folder / "state.json"
    if not state.exists():
        raise NoBrokerError(f"no broker was started in {folder}: python -m tests.broker start")
    known: dict[str, Any] = json.loads(state.read_text())
    return known


if __name__ == "__main__":
    try:
        app(standalone_mode=True)
    except (NoBrokerError, ToolError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
