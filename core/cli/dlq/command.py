"""``windrow dlq``: list dead letters, show one, send them where they came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windrow.cli import figures, printing
from windrow.cli.kafka_options import OptionsFile, read_options
from windrow.errors import PlanError

if TYPE_CHECKING:
    import pyarrow as pa

    from windrow.cli.dlq.choice import Choice
    from windrow.io.replay import Counts, Replay

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

TopicName = Annotated[str, typer.Argument(help="The topic of dead letters.", metavar="TOPIC", show_default=False)]
Bootstrap = Annotated[
    str | None, typer.Option("--kafka", help="Brokers it is on, host:port.", metavar="BOOTSTRAP", show_default=False)
]
Directory = Annotated[
    Path | None, typer.Option("--log", help="The embedded log it is in.", metavar="LOG", show_default=False)
]
Reason = Annotated[str | None, typer.Option(help="Only with this in the reason.", show_default=False)]
Origin = Annotated[str | None, typer.Option("--topic", help="Only from this topic.", show_default=False)]
Partition = Annotated[
    int | None, typer.Option("-p", "--partition", help="Only from this partition.", show_default=False)
]
Offsets = Annotated[
    str | None,
    typer.Option(help="Only from these offsets: FIRST..END, END itself not among them.", show_default=False),
]
OfJob = Annotated[str | None, typer.Option("--job", help="Only of this job.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command("ls")
def list_letters(
    topic: TopicName,
    kafka: Bootstrap = None,
    log: Directory = None,
    by: Annotated[str, typer.Option(help="Grouped by: reason, topic, partition, job, step, field.")] = (
        "reason,topic,partition"
    ),
    reason: Reason = None,
    origin: Origin = None,
    partition: Partition = None,
    offsets: Offsets = None,
    job: OfJob = None,
    options: OptionsFile = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters: where they came from and why, from when to when, and how many were sent there again."""
    from windrow.cli.dlq.summary import Summary

    summary = Summary(_columns(by))
    with _opened(topic, kafka, log, options) as replay:
        for letters in _chosen(replay, _choice(reason, origin, partition, offsets, job)):
            ours = letters.column("topic").is_valid().to_numpy(zero_copy_only=False)
            summary.add(letters, ours & ~replay.unsent(letters, None))
    found = summary.largest_first()
    if as_json:
        printing.lines([{**dict(zip(summary.by, key, strict=True)), **group.as_dict()} for key, group in found])
        return
    if not found:
        typer.echo("no dead letters")
        return
    rows = [
        (
            figures.count(group.count), figures.count(group.replayed), "{}:{}".format(*group.first),
            "" if group.offsets is None else "{}..{}".format(*group.offsets),
            "" if group.times is None else f"{group.times[0]:%Y-%m-%d %H:%M:%S} .. {group.times[1]:%Y-%m-%d %H:%M:%S}",
            *("-" if one is None else printing.escaped(str(one), 120) for one in key),
        )
        for key, group in found
    ]  # fmt: skip
    names = ("letters", "sent again", "first", "offsets", "timestamps", *summary.by)
    printing.table(names, rows, right=(0, 1, 2))


@app.command()
def show(
    topic: TopicName,
    letter: Annotated[str, typer.Argument(help="Which one, as ls shows it.", metavar="PARTITION:OFFSET")],
    kafka: Bootstrap = None,
    log: Directory = None,
    limit: Annotated[int, typer.Option("--bytes", help="How much of key, value and headers.", min=1)] = 2_000,
    options: OptionsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter whole: what it was, where it came from and why it is here. Nothing of it can harm a
    terminal."""
    from windrow.cli.dlq.choice import place

    at, offset = place(letter)
    with _opened(topic, kafka, log, options) as replay:
        found = replay.letter(at, offset).to_pylist()[0]
    if as_json:
        printing.lines([printing.plain(found)])
        return
    known = found["topic"] is not None
    _field("letter", f"{topic}[{at}] offset {offset}")
    _field("origin", f"{found['topic']}[{found['partition']}] offset {found['offset']}" if known else None)
    for name in ("timestamp", "job", "step", "field", "reason"):
        _field(name, None if found[name] is None else str(found[name]))
    _field("key", found["key"], limit)
    for header in found["headers"] or ():
        name, value = printing.escaped(header["key"]), header["value"]
        typer.echo(f"header     {name} = {'null' if value is None else printing.escaped(value, limit)}")
    _field("value", found["value"], limit)


@app.command()
def replay(
    topic: TopicName,
    kafka: Bootstrap = None,
    log: Directory = None,
    to: Annotated[
        str | None, typer.Option(help="The topic to send them to, instead of their own.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, when nothing is chosen.")] = False,
    reason: Reason = None,
    origin: Origin = None,
    partition: Partition = None,
    offsets: Offsets = None,
    job: OfJob = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    options: OptionsFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to the topics and partitions that they came from, with key, value and headers as they were.

    Exactly once: what was sent is remembered in the same transaction, so that the command can be repeated, and goes on
    where it was stopped. Letters that were sent to a topic are not sent to it again.
    """
    from windrow.io.replay import added

    choice = _choice(reason, origin, partition, offsets, job)
    if not choice.given and not everything:
        raise PlanError("say which dead letters (--reason, --topic, --partition, --offsets, --job), or --all")
    counts: list[Counts] = []
    before = lost = 0
    with _opened(topic, kafka, log, options, writes=not dry_run) as opened:
        for letters in _chosen(opened, choice):
            homeless = letters.column("topic").null_count if to is None else 0
            left = letters.filter(_mask(opened.unsent(letters, to))) if dry_run else letters
            counts.append(opened.would_send(left, to) if dry_run else opened.send(left, to))
            lost += homeless
            before += letters.num_rows - homeless - sum(counts[-1].values())
    total = added(counts)
    if as_json:
        places = [{"topic": name, "partition": part, "sent": count} for (name, part), count in sorted(total.items())]
        printing.lines([{"sent": sum(total.values()), "sent_before": before, "no_origin": lost, "dry_run": dry_run,
                         "places": places}])  # fmt: skip
        return
    for (name, part), count in sorted(total.items()):
        typer.echo(f"{figures.count(count):>12}  {printing.escaped(name)}[{part}]")
    said = f"{figures.count(sum(total.values()))} dead letters {'would be ' if dry_run else ''}sent"
    said += f"; {figures.count(before)} were sent before" if before else ""
    typer.echo(said + (f"; {figures.count(lost)} do not say where they came from: give --to" if lost else ""))


def _field(name: str, value: bytes | str | None, limit: int = 2_000) -> None:
    size = f" ({len(value):,} bytes)" if isinstance(value, bytes) else ""
    typer.echo(f"{name:10} {'none' if value is None else printing.escaped(value, limit)}{size}")


def _columns(by: str) -> tuple[str, ...]:
    from windrow.cli.dlq.summary import COLUMNS

    names = tuple(dict.fromkeys(name.strip() for name in by.split(",")))
    for name in names:
        if name not in COLUMNS:
            raise PlanError(f"--by: there is no {name!r}; there are {', '.join(COLUMNS)}")
    return names


def _choice(
    reason: str | None, topic: str | None, partition: int | None, offsets: str | None, job: str | None
) -> Choice:
    from windrow.cli.dlq.choice import Choice, offset_range

    return Choice(reason, topic, partition, offset_range(offsets), job)


def _chosen(replay: Replay, choice: Choice) -> Iterator[pa.RecordBatch]:
    for letters in replay.letters():
        chosen = choice.of(letters)
        if chosen.num_rows:
            yield chosen


def _mask(which: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(which)


@contextmanager
def _opened(
    topic: str, kafka: str | None, log: Path | None, options: Path | None, *, writes: bool = False
) -> Iterator[Replay]:
    if (kafka is None) == (log is None):
        raise PlanError("say where the topic is: --kafka BOOTSTRAP or --log DIRECTORY")
    made: Replay
    if kafka is not None:
        from windrow.api.sources import kafka_options

        settings = kafka_options(read_options(options)).settings
        from windrow.io.kafka.replay import KafkaReplay

        made = KafkaReplay(kafka, topic, settings)
    else:
        from windrow.io.log.replay import LogReplay

        assert log is not None
        made = LogReplay(log, topic, read_only=not writes)
    try:
        yield made
    finally:
        made.close()
