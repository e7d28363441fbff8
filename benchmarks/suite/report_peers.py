"""The report's sections on other engines: ratios, tables by query, and what has to be said about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from benchmarks.suite import svg
from benchmarks.suite.lines import OURS, Line
from benchmarks.suite.markdown import figure, millions, paragraph, table, times
from benchmarks.suite.page import Page
from benchmarks.suite.ratios import Pair, mean, pairs

_BATCH = "batch"
_IN_SHORT = """How many times as many events windrow does in a CPU second, on the same events and cores, with equal
results. Means are geometric, over the queries that the peer can run."""
_MEMORY = """Million events a second by the clock; in brackets per CPU second. Start-up is not in it. `-`: not run;
letters: below the table. JSON and Parquet are the same events in files, read and decoded within the time. From memory,
events are there before the clock starts, in the form that the engine takes them in: Arrow for windrow (one record
batch) and the batch engines, Python dicts for Bytewax and Pathway. Slower engines get fewer of the same events (how
each is run: below)."""
_KAFKA = """CPU and memory are the engine's alone, without broker and producer. Latency is from produced to visible to a
reader of committed records, at a fixed rate; recovery from `kill -9` to the first new result. Each engine catches up
with about 10 s of its work, so that the suite is not an hour long; with more (`kafka_catch_up --option backlog=60`)
engines on a JVM do clearly more events in a CPU second: compiling is then a smaller part of it."""


def _note(page: Page, engine: str) -> dict[str, Any]:
    """What is known about an engine: its file is named as it is, with _ for what is no letter or digit."""
    return page.notes.get(re.sub(r"\W+", "_", engine.lower()), {})


def _kind(page: Page, line: Line) -> str:
    """Streaming or batch."""
    return str(_note(page, line.engine).get("kind", _BATCH if line.guarantee == _BATCH else "streaming"))


def _name(page: Page, engine: str) -> str:
    return str(_note(page, engine).get("name", engine))


def _compared(page: Page) -> list[Pair]:
    return pairs(page.of_part("peers", "kafka"))


def in_short(page: Page) -> str:
    """The ratios to every peer, and the plot of the README."""
    found = _compared(page)
    if not found:
        return ""
    text = "## In short\n\n" + paragraph(_IN_SHORT)
    streaming = [pair for pair in found if _kind(page, pair.theirs) != _BATCH]
    for name, chosen, title in (
        ("peers", streaming, "Events in a CPU second: windrow over each streaming engine"),
        ("batch", [p for p in found if p not in streaming], "Events in a CPU second: windrow over each batch engine"),
    ):
        if chosen:
            text += page.plot(name, _ratio_plot(page, chosen, title), title) + "\n"
            text += _ratio_table(page, chosen) + "\n"
    return text


def _group(page: Page, pair: Pair) -> str:
    place = (
        "Kafka" if pair.ours.source.startswith("kafka") or pair.ours.benchmark.startswith("kafka") else "memory, files"
    )
    return f"{_name(page, pair.theirs.engine)}, {place}"


def _grouped(page: Page, found: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in found:
        if pair.by_cpu:
            groups.setdefault(_group(page, pair), []).append(pair)
    return dict(sorted(groups.items(), key=lambda item: -(mean([p.by_cpu or 0 for p in item[1]]) or 0)))


def _ratio_plot(page: Page, found: Sequence[Pair], title: str) -> str:
    groups = _grouped(page, found)
    cores = sorted({pair.ours.cores for pair in found})
    rows = {
        name: [(f"{n} core" + "s" * (n > 1), p.by_cpu or 0.0) for n in cores for p in chosen if p.ours.cores == n]
        for name, chosen in groups.items()
    }
    marks = {name: mean([pair.by_cpu or 0 for pair in chosen]) or 0.0 for name, chosen in groups.items()}
    axis = svg.Axis("times as many events in a CPU second; a dot is a query, the bar their geometric mean")
    return svg.dots(title, rows, axis, marks, reference=1.0)


def _ratio_table(page: Page, found: Sequence[Pair]) -> str:
    rows = []
    for name, chosen in _grouped(page, found).items():
        cpu = [pair.by_cpu for pair in chosen if pair.by_cpu]
        clock = [pair.by_clock for pair in chosen if pair.by_clock]
        least = min(chosen, key=lambda pair: pair.by_cpu or 0)
        where = f"{least.name}, {least.ours.cores} core" + "s" * (least.ours.cores > 1)
        below = sum(1 for ratio in cpu if ratio < 1)
        rows.append(
            [
                name,
                str(len(chosen)),
                times(mean(cpu)),
                times(mean(clock)),
                times(min(cpu)),
                where,
                times(max(cpu)),
                str(below),
            ]
        )
    head = ["engine", "figures", "mean by CPU", "mean by the clock", "least", "at", "most", "slower than it"]
    return table(head, rows)


# -- by query --------------------------------------------------------------------------------------------------------


def memory(page: Page) -> str:
    """Every query of every engine, one table a benchmark, number of cores and source."""
    lines = [line for line in page.of_part("peers") if line.query != "(step)"]
    if not lines:
        return ""
    text = "## Other engines, fed from memory and files\n\n" + paragraph(_MEMORY)
    for benchmark in dict.fromkeys(line.benchmark for line in lines):
        for cores in sorted({line.cores for line in lines if line.benchmark == benchmark}):
            chosen = [line for line in lines if line.benchmark == benchmark and line.cores == cores]
            text += f"### {benchmark}, {cores} core" + "s" * (cores > 1) + "\n\n"
            for source in dict.fromkeys(line.source for line in chosen):
                text += f"From {source}:\n\n" + _pivot(page, [line for line in chosen if line.source == source]) + "\n"
            text += (
                page.plot(f"{benchmark}_{cores}", _query_plot(page, chosen, benchmark, cores), f"{benchmark} by query")
                + "\n"
            )
    return text + _startup(page, lines)


def _query_plot(page: Page, lines: Sequence[Line], benchmark: str, cores: int) -> str:
    rows: dict[str, list[tuple[str, float]]] = {}
    for line in lines:
        if line.events_per_cpu_s and line.status == "measured":
            rows.setdefault(_query(line), []).append((_name(page, line.engine), line.events_per_cpu_s))
    title = f"{benchmark}: events in a CPU second, {cores} core" + "s" * (cores > 1)
    return svg.dots(title, rows, svg.Axis("events in a CPU second"))


def _query(line: Line) -> str:
    return " ".join(filter(None, (line.query, line.variant, line.source)))


def _named(line: Line) -> str:
    return " ".join(filter(None, (line.query, line.variant)))


def _pivot(page: Page, lines: Sequence[Line]) -> str:
    engines = list(dict.fromkeys(sorted((line.engine for line in lines), key=lambda name: name != OURS)))
    engines.sort(key=lambda name: (name != OURS, _kind(page, next(x for x in lines if x.engine == name)) == _BATCH))
    notes: list[str] = []
    rows = []
    for query in dict.fromkeys(_named(line) for line in lines):
        found = {line.engine: line for line in lines if _named(line) == query}
        rows.append([query, *(_rate_cell(found.get(engine), notes) for engine in engines)])
    text = table(["query", *(_name(page, engine) for engine in engines)], rows)
    return text + "".join(f"\n{_letter(number)}: {note}  " for number, note in enumerate(notes)) + "\n"


def _rate_cell(line: Line | None, notes: list[str]) -> str:
    if line is None:
        return "-"
    if line.status != "measured":
        said = f"{line.status}: {line.reason}"
        if said not in notes:
            notes.append(said)
        return _letter(notes.index(said))
    return f"{millions(line.events_per_s)} ({millions(line.events_per_cpu_s)})"


def _letter(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return f"*{letters[number] if number < 26 else letters[number // 26 - 1] + letters[number % 26]}*"


def _startup(page: Page, lines: Sequence[Line]) -> str:
    rows = []
    for engine in dict.fromkeys(line.engine for line in lines):
        mine = [line for line in lines if line.engine == engine and line.status == "measured"]
        if mine:
            started = [line.startup_s for line in mine if line.startup_s is not None]
            cold = [line.cold_s / line.second for line in mine if line.cold_s and line.second]
            memory_ = [line.peak_rss_mb for line in mine if line.peak_rss_mb]
            rows.append(
                [_name(page, engine), mine[0].version, mine[0].guarantee, figure(max(started, default=None), "s"),
                 times(mean(cold)), figure(max(memory_, default=None), "MB")]
            )  # fmt: skip
    head = ["engine", "version", "guarantee as run", "start-up", "first run over later ones", "most memory"]
    return "### Start-up, memory and guarantees\n\n" + table(head, rows, left=3)


# -- Kafka -----------------------------------------------------------------------------------------------------------


def kafka(page: Page) -> str:
    """Kafka to Kafka, by query."""
    lines = [line for line in page.of_part("kafka") if line.query != "(step)" and line.benchmark != "limit"]
    if not lines:
        return ""
    text = "## Kafka to Kafka\n\n" + paragraph(_KAFKA)
    head = [
        "engine",
        "guarantee",
        "cores",
        "M events/s",
        "CPU s per M events",
        "memory",
        "p50",
        "p99",
        "p99.9",
        "recovery",
    ]
    for title in dict.fromkeys((line.benchmark, line.query, line.variant, line.source) for line in lines):
        chosen = [line for line in lines if (line.benchmark, line.query, line.variant, line.source) == title]
        notes: list[str] = []
        rows = [_kafka_row(page, line, notes) for line in chosen]
        text += f"### {' '.join(filter(None, title[:3]))}\n\n" + table(*_told(head, rows), left=2)
        text += "".join(f"\n{_letter(number)}: {note}  " for number, note in enumerate(notes)) + "\n"
    return text


def _told(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns that nobody has a figure in."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _kafka_row(page: Page, line: Line, notes: list[str]) -> list[str]:
    name = f"{_name(page, line.engine)} {line.version}".strip()
    if line.status != "measured":
        return [name, line.guarantee, str(line.cores), _rate_cell(line, notes), *[""] * 6]
    cost = line.cpu_seconds / line.events * 1e6 if line.cpu_seconds and line.events else None
    latency = [_milliseconds(line.latency_ms.get(part)) for part in ("p50", "p99", "p999")]
    return [
        name, line.guarantee, str(line.cores), millions(line.events_per_s), figure(cost),
        figure(line.peak_rss_mb, "MB"), *latency, figure(line.recovery_s, "s"),
    ]  # fmt: skip


def _milliseconds(value: float | None) -> str:
    return figure(value, "ms") if value is not None else ""


# -- honesty ---------------------------------------------------------------------------------------------------------


def honesty(page: Page) -> str:
    """How each peer was tuned, what it cannot say, and where it wins; the ratios are computed."""
    engines = dict.fromkeys(line.engine for line in page.of_part("peers", "kafka"))
    told = [(engine, _note(page, engine)) for engine in engines if _note(page, engine)]
    if not told:
        return ""
    text = "## What has to be said\n\n" + _wins(page)
    return text + "".join(_about(page, engine, note) for engine, note in told)


def _wins(page: Page) -> str:
    rows = []
    for pair in sorted(_compared(page), key=lambda pair: pair.by_cpu or 9e9):
        if pair.by_cpu and pair.by_cpu < 1:
            why = _note(page, pair.theirs.engine).get("wins", {})
            clock = times(1 / pair.by_clock) if pair.by_clock else ""
            said = str(why.get(pair.name, why.get(pair.ours.query, "")))
            name = _name(page, pair.theirs.engine)
            rows.append([name, pair.name, str(pair.ours.cores), times(1 / pair.by_cpu), clock, said])
    if not rows:
        return "No engine did more events in a CPU second than windrow in any figure of this run.\n\n"
    head = ["engine", "where it is ahead", "cores", "by CPU", "by the clock", "why"]
    return "### Where another engine is ahead\n\n" + table(head, rows, left=2) + "\n"


def _about(page: Page, engine: str, note: dict[str, Any]) -> str:
    versions = sorted({line.version for line in page.lines if line.engine == engine and line.version})
    text = f"### {note.get('name', engine)} {', '.join(versions)}\n\n"
    about = [note.get("package", ""), note.get("home", ""), note.get("guarantee", "")]
    text += "; ".join(str(part) for part in about if part) + ".\n\n"
    for heading, key in (("Tuned", "tuned"), ("Not compared", "not_compared")):
        if note.get(key):
            text += f"{heading}:\n\n" + "".join(f"- {said}\n" for said in note[key]) + "\n"
    cannot = dict(note.get("cannot", {}))
    if cannot:
        text += "Cannot be said in it:\n\n" + "".join(f"- {query}: {why}\n" for query, why in cannot.items()) + "\n"
    return text
