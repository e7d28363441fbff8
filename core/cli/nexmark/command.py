"""``windrow nexmark``: run queries of the benchmark, and check what they give."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windrow.cli import figures
from windrow.cli.kafka_options import OptionsFile, read_options
from windrow.errors import WindrowError

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from windrow.api.stream import Stream
    from windrow.cli.nexmark.events import Generated
    from windrow.cli.nexmark.queries import Events
    from windrow.cli.nexmark.topic import Topic


def nexmark(
    query: Annotated[str, typer.Argument(metavar="q0..q23|all", help="Which query; several with commas.")],
    events: Annotated[str, typer.Option(help="How many events (persons, auctions and bids).")] = "1_000_000",
    source: Annotated[str, typer.Option(help="memory, log or kafka.")] = "memory",
    check: Annotated[bool, typer.Option("--check", help="Compare all rows with what DuckDB computes.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed, other events.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: one a core.")] = None,
    data: Annotated[Path, typer.Option(help="Where the log of --source log is kept.")] = Path("nexmark-data"),
    kafka: Annotated[
        str | None, typer.Option(metavar="BOOTSTRAP", help="The brokers of --source kafka.", show_default=False)
    ] = None,
    options: OptionsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a query.")] = False,
) -> None:
    """Generate events by the rules of Nexmark, run queries over them, and print how fast that was.

    Only the run is timed: the events are generated before. Rates count the events that the query reads.
    """
    from rich.console import Console

    from windrow.cli.warmup import compile_kernels

    console = Console(stderr=True, highlight=False)
    names = chosen(query)
    place = Source(source, _number(events), seed, data, kafka, read_options(options))
    compile_kernels(console)
    generated = place.prepare(console, keep=check)
    different = 0
    for name in names:
        ran = place.run(name, generated, workers)
        line: dict[str, Any] = {"query": name, "source": source, "events": ran.events, "seconds": round(ran.seconds, 4)}
        line |= {"events_per_s": round(ran.events / ran.seconds), "rows": ran.result.num_rows}
        verdict = None
        if check and generated is not None:
            from windrow.cli.nexmark.check import check as compare

            verdict = compare(name, ran.result, generated.with_arrival(place.partitions))
            line["equal"] = verdict.equal
            different += not verdict.equal
        if as_json:
            typer.echo(json.dumps(line))
        else:
            rate = figures.short(ran.events / ran.seconds)
            shown = "" if verdict is None else f"  {verdict}"
            typer.echo(f"{name:4} {rate:>8} events/s  {ran.seconds:7.3f} s  {ran.result.num_rows:>11,} rows{shown}")
    if different:
        raise WindrowError(f"{different} of {len(names)} queries gave other rows than DuckDB")


def chosen(query: str) -> list[str]:
    """The names of queries, from ``all`` or a list; raises `WindrowError` for one that is not there."""
    from windrow.cli.nexmark.queries import QUERIES

    names = list(QUERIES) if query == "all" else [name.strip() for name in query.split(",")]
    unknown = [name for name in names if name not in QUERIES]
    if unknown:
        raise WindrowError(f"no query {unknown[0]!r}; there are {', '.join(QUERIES)} and all")
    return names


@dataclass(frozen=True, slots=True)
class Ran:
    """`events`: how many the query read; `seconds`: from the start of the job to its last commit."""

    result: pa.Table
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where the events of a run come from."""

    name: str
    events: int
    seed: int
    data: Path
    kafka: str | None = None
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.name not in ("memory", "log", "kafka"):
            raise WindrowError(f"--source must be memory, log or kafka, not {self.name!r}")
        if (self.name == "kafka") != (self.kafka is not None):
            raise WindrowError("--source kafka needs --kafka BOOTSTRAP, and the other way round")

    @property
    def partitions(self) -> int:
        from windrow.cli.demo_data import PARTITIONS

        return 1 if self.name == "memory" else PARTITIONS

    def prepare(self, console: Console, *, keep: bool) -> Generated | None:
        """Generate what is not there yet; gives the events when they are needed in memory, or to check (`keep`)."""
        from windrow.cli.bars import bar
        from windrow.cli.nexmark.events import generate

        if self.name == "log":
            self._fill_log(console)
        elif self.name == "kafka":
            self._fill_topic(console)
        if self.name != "memory" and not keep:
            return None
        with bar("events", console) as advance:
            return generate(self.events, self.seed, advance)

    def run(self, query: str, generated: Generated | None, workers: int | None) -> Ran:
        from windrow.api.sinks import collected
        from windrow.cli.nexmark.queries import QUERIES

        stream = QUERIES[query](self._streams(generated))
        if query == "q10":
            return _to_files(stream, workers)
        begun = time.perf_counter()
        result, progress = collected(stream, workers=workers)
        return Ran(result, progress.events, time.perf_counter() - begun)

    def _streams(self, generated: Generated | None) -> Events:
        from windrow.cli.demo_data import TOPIC, Place
        from windrow.cli.nexmark.events import from_log

        if self.name == "log":
            return from_log(Place(self.data, self.seed).events, TOPIC)
        if self.name == "kafka":
            return self._topic().streams()
        assert generated is not None
        return generated.streams()

    def _fill_log(self, console: Console) -> None:
        from windrow.cli.bars import bar
        from windrow.cli.demo_data import Place, missing, write_events

        place = Place(self.data, self.seed)
        place.prepare(self.events, keep_results=False)
        if missing(place, self.events):
            with bar("log", console) as advance:
                write_events(place, self.events, advance)

    def _fill_topic(self, console: Console) -> None:
        from windrow.cli.bars import bar

        topic = self._topic()
        if topic.missing():
            with bar("topic", console) as advance:
                topic.write(advance)

    def _topic(self) -> Topic:
        from windrow.cli.nexmark.topic import Topic

        return Topic(str(self.kafka), self.events, self.seed, self.options)


def _to_files(stream: Stream, workers: int | None) -> Ran:
    """q10 is about the files: a folder for each minute, which is complete one minute of event time later."""
    from windrow.cli.nexmark.queries import minutes_as_files

    with tempfile.TemporaryDirectory(prefix="windrow-q10-") as folder:
        begun = time.perf_counter()
        with minutes_as_files(stream, Path(folder)).configured(workers=workers) as job:
            progress = job.run()
        seconds = time.perf_counter() - begun
        minutes = {path.parent for path in Path(folder).glob("*/*/*.csv")}
        unmarked = sorted(str(path) for path in minutes if not (path / "_SUCCESS").exists())
        if unmarked:
            raise WindrowError(f"q10: {unmarked[0]} was not marked as complete")
        return Ran(read_minutes(Path(folder), stream.columns), progress.events, seconds)


def read_minutes(folder: Path, columns: list[str]) -> pa.Table:
    """The rows of q10's files, with day and minute as text."""
    import pyarrow as pa
    from pyarrow import csv, dataset

    day_and_minute = dataset.partitioning(pa.schema([("dt", pa.string()), ("hm", pa.string())]), flavor="hive")
    types = {"dateTime": pa.timestamp("us", "UTC"), "extra": pa.string()}
    convert = csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    format_ = dataset.CsvFileFormat(convert_options=convert)
    return dataset.dataset(folder, format=format_, partitioning=day_and_minute).to_table(columns=columns)


def _number(text: str) -> int:
    try:
        number = int(float(text)) if "e" in text.lower() else int(text)
    except ValueError:
        raise WindrowError(f"--events must be a number such as 10_000_000 or 1e7, not {text!r}") from None
    if number < 1:
        raise WindrowError("--events must be 1 or more")
    return number
