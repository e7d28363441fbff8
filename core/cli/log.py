"""``windrow log``: look into an embedded log, and append to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from windrow.cli import figures, printing

if TYPE_CHECKING:
    from windrow.io.log.log import Log

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

Directory = Annotated[Path, typer.Argument(help="The log's directory.", metavar="LOG", show_default=False)]
TopicName = Annotated[str, typer.Argument(help="The topic.", metavar="TOPIC", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Count = Annotated[int, typer.Option("-n", "--count", help="How many events of each partition.", min=1)]
Partition = Annotated[int | None, typer.Option("-p", "--partition", help="Only this partition.", show_default=False)]

_APPEND_ROWS = 50_000
_APPEND_BYTES = 8 << 20


@app.command("ls")
def list_topics(path: Directory, as_json: AsJson = False) -> None:
    """List the topics: partitions, events, bytes, columns."""
    with _opened(path) as log:
        topics = [_topic_line(info) for info in log.topics()]
    if as_json:
        printing.lines(topics)
        return
    rows = [
        (
            str(topic["topic"]),
            str(topic["partitions"]),
            figures.count(topic["events"]),
            figures.size(topic["bytes"]),
            "key, value, timestamp" if topic["raw"] else ", ".join(f"{n} {t}" for n, t in topic["columns"].items()),
        )
        for topic in topics
    ]
    printing.table(("topic", "partitions", "events", "bytes", "columns"), rows, right=(1, 2, 3))


@app.command()
def head(
    path: Directory, topic: TopicName, count: Count = 10, partition: Partition = None, as_json: AsJson = False
) -> None:
    """Show the first events of a topic."""
    with _opened(path) as log:
        for number in _partitions(log, topic, partition):
            first, end = log.start_offset(topic, number), log.end_offset(topic, number)
            _show(log, topic, number, (first, min(first + count, end)), as_json)


@app.command()
def tail(
    path: Directory,
    topic: TopicName,
    count: Count = 10,
    partition: Partition = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is appended, until stopped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last events of a topic."""
    with _opened(path) as log:
        at = {}
        for number in _partitions(log, topic, partition):
            first, end = log.start_offset(topic, number), log.end_offset(topic, number)
            _show(log, topic, number, (max(first, end - count), end), as_json)
            at[number] = end
        while follow:
            version = log.store.data_version()
            for number, start in at.items():
                at[number] = log.end_offset(topic, number)
                _show(log, topic, number, (start, at[number]), as_json)
            log.wait(1.0, version)


@app.command()
def append(
    path: Directory,
    topic: TopicName,
    file: Annotated[
        Path | None, typer.Argument(help="A file of lines; standard input when left out.", show_default=False)
    ] = None,
    key: Annotated[str | None, typer.Option(help="The same key for all events.", show_default=False)] = None,
    key_field: Annotated[
        str | None, typer.Option(help="Lines are JSON objects; the key is this field.", show_default=False)
    ] = None,
    partition: Partition = None,
    create: Annotated[
        int | None,
        typer.Option(
            "--create", help="Make the topic with so many partitions if it is not there.", min=1, show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Append lines to a raw topic, one event a line; durable when the command ends."""
    from windrow.io.log.log import Log

    appended = 0
    with Log(path, create=create is not None) as log:
        if create is not None and topic not in log.index.names():
            log.create_topic(topic, partitions=create, if_exists="ok")
        log.topic(topic)
        with file.open("rb") if file is not None else sys.stdin.buffer as lines:
            for values in _line_groups(lines):
                keys = _keys(values, key, key_field, appended)
                log.append(topic, values, keys=keys, partition=partition)
                appended += len(values)
        ends = log.topic(topic).end_offsets
    if as_json:
        printing.lines([{"topic": topic, "appended": appended, "end_offsets": list(ends)}])
        return
    typer.echo(f"{figures.count(appended)} events appended to {topic}")


@app.command()
def stats(path: Directory, as_json: AsJson = False) -> None:
    """Show what the log holds: partitions with their offsets, jobs with their epochs and state, files."""
    from windrow.units import format_time_us

    with _opened(path) as log:
        found = log.stats()
    if as_json:
        printing.lines([found])
        return
    typer.echo(f"{path}: {figures.size(found['bytes'])} in {figures.count(found['files'])} files\n")
    printing.table(
        ("topic", "partition", "first offset", "next offset", "bytes"),
        [
            (one["topic"], str(one["partition"]), *map(figures.count, (one["start_offset"], one["next_offset"])),
             figures.size(one["bytes"]))
            for one in found["partitions"]
        ],
        right=(1, 2, 3, 4),
    )  # fmt: skip
    if found["jobs"]:
        typer.echo()
        printing.table(
            ("job", "epoch", "committed", "state", "positions"),
            [
                (
                    one["job"],
                    figures.count(one["epoch"]),
                    format_time_us(one["committed_us"]) if one["committed_us"] is not None else "never",
                    figures.size(one["state_bytes"]),
                    "; ".join(
                        f"{name}: " + " ".join(str(at) for at in parts.values())
                        for name, parts in one["positions"].items()
                    ),
                )
                for one in found["jobs"]
            ],
            right=(1, 3),
        )


@app.command()
def verify(path: Directory, as_json: AsJson = False) -> None:
    """Read everything and check it against its checksums; exit code 1 when anything is damaged."""
    from dataclasses import asdict

    with _opened(path) as log:
        problems = log.verify()
        checked = sum(info.rows for info in log.topics())
    if as_json:
        printing.lines([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            typer.echo(str(problem))
        typer.echo(
            f"{figures.count(checked)} events: " + (f"{len(problems)} damaged places" if problems else "all sound")
        )
    if problems:
        raise typer.Exit(1)


def _opened(path: Path) -> Log:
    from windrow.io.log.log import Log

    return Log(path, create=False, read_only=True)


def _topic_line(info: Any) -> dict[str, Any]:
    return {
        "topic": info.name,
        "partitions": info.partitions,
        "events": info.rows,
        "bytes": info.bytes,
        "raw": info.raw,
        "start_offsets": list(info.start_offsets),
        "end_offsets": list(info.end_offsets),
        "columns": {field.name: str(field.type) for field in info.schema},
        "retention_bytes": info.retention_bytes,
        "retention_us": info.retention_us,
    }


def _partitions(log: Log, topic: str, partition: int | None) -> list[int]:
    if partition is None:
        return list(range(log.topic(topic).partitions))
    log.start_offset(topic, partition)  # refuses one that is not there
    return [partition]


def _show(log: Log, topic: str, partition: int, offsets: tuple[int, int], as_json: bool) -> None:
    at = offsets[0]
    for batch, _ in log.batches(log.topic(topic), partition, *offsets):
        for row in batch.to_pylist():
            if as_json:
                printing.lines([{"partition": partition, "offset": at, **printing.plain(row)}])
            else:
                text = "  ".join(f"{name}={printing.short(value)}" for name, value in row.items() if value is not None)
                typer.echo(f"{partition}:{at}  {text}")
            at += 1


def _line_groups(lines: BinaryIO) -> Iterator[list[bytes]]:
    """Lines without their ends, in groups that are one commit each; empty lines are passed over."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        value = line.rstrip(b"\r\n")
        if not value:
            continue
        group.append(value)
        size += len(value)
        if len(group) >= _APPEND_ROWS or size >= _APPEND_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _keys(values: list[bytes], key: str | None, key_field: str | None, before: int) -> list[bytes | None] | None:
    from windrow.errors import RecordError

    if key_field is None:
        return [key.encode()] * len(values) if key is not None else None
    keys: list[bytes | None] = []
    for number, value in enumerate(values, before + 1):
        try:
            found = json.loads(value)[key_field]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(
                f"event {number} is no JSON object with the field {key_field!r}: it begins {value[:80]!r}; "
                f"{before} events before it are appended"
            ) from error
        keys.append(None if found is None else (found if isinstance(found, str) else json.dumps(found)).encode())
    return keys
