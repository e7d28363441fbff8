"""The report's section on scale: cores, shards, partitions, state, epochs and time."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.suite import svg
from benchmarks.suite.lines import Kept, Line
from benchmarks.suite.markdown import figure, millions, table, times
from benchmarks.suite.page import Page


def scale(page: Page) -> str:
    lines = [line for line in page.of_part("scale") if line.status == "measured"]
    parts = [_cores(page, lines, "", "this machine")]
    for name, kept in page.others.items():
        parts.append(_cores(page, [each.line for each in kept], f"_{name}", _machine(kept)))
    parts += [_dealt(lines), _state(page, lines), _epochs(page, lines), _soak(page, lines)]
    text = "\n".join(part for part in parts if part)
    return "## Scale\n\n" + text if text else ""


def _machine(kept: Sequence[Kept]) -> str:
    about = kept[0].run.get("machine", {}) if kept else {}
    return f"{about.get('cpu', 'another machine')}, {about.get('cores', '?')} cores"


def _cores(page: Page, lines: Sequence[Line], suffix: str, where: str) -> str:
    chosen = [line for line in lines if line.benchmark == "scale cores"]
    if not chosen:
        return ""
    series: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for line in chosen:
        name = f"{line.query}, {line.variant}"
        alone = next((x for x in chosen if (x.query, x.variant, x.cores) == (line.query, line.variant, 1)), None)
        gain = (line.events_per_s or 0) / alone.events_per_s if alone and alone.events_per_s else 0.0
        series.setdefault(name, []).append((line.cores, gain))
        rows.append([name, str(line.cores), millions(line.events_per_s), millions(line.events_per_cpu_s), times(gain)])
    most = max(line.cores for line in chosen)
    series["ideal"] = [(1, 1), (most, most)]
    title = f"Times the rate of one core, {where}"
    axes = svg.Axis("cores", log=False), svg.Axis("times one core", log=False, least=0.0)
    picture = page.plot(f"scale_cores{suffix}", svg.curves(title, series, *axes, dashed=("ideal",)), title)
    head = ["what", "cores", "M events/s", "M events/CPU s", "over one core"]
    said = "Strong: the same events for all numbers of cores. Weak: as many more events as cores.\n\n"
    return f"### Cores, {where}\n\n{said}{picture}\n{table(head, rows)}"


def _dealt(lines: Sequence[Line]) -> str:
    chosen = [line for line in lines if line.benchmark in ("scale shards", "scale partitions")]
    rows = [
        [line.query, line.variant, str(line.cores), millions(line.events_per_s), millions(line.events_per_cpu_s)]
        for line in chosen
    ]
    head = ["what", "of", "cores", "M events/s", "M events/CPU s"]
    return "### Shards and partitions\n\n" + table(head, rows, left=2) if rows else ""


def _state(page: Page, lines: Sequence[Line]) -> str:
    chosen = [line for line in lines if line.benchmark == "scale state"]
    if not chosen:
        return ""
    keys = [line.extra["keys"] for line in chosen]
    title = "Events a second by number of keys in state, one core"
    series = {
        name: [(line.extra["keys"], line.extra[field]) for line in chosen]
        for name, field in (("keys that are new", "new_per_s"), ("keys that are known", "known_per_s"))
    }
    picture = svg.curves(title, series, svg.Axis("keys"), svg.Axis("events a second"))
    rows = [
        [f"{count:,}", millions(line.extra["new_per_s"]), millions(line.extra["known_per_s"]),
         figure(line.extra["state_mb"]), figure(line.extra["state_mb"] * 1e6 / count), figure(line.peak_rss_mb)]
        for count, line in zip(keys, chosen, strict=True)
    ]  # fmt: skip
    head = ["keys", "M new/s", "M known/s", "state MB", "bytes a key", "peak MB of the process, input included"]
    return f"### State\n\n{page.plot('scale_state', picture, title)}\n{table(head, rows)}"


def _epochs(page: Page, lines: Sequence[Line]) -> str:
    chosen = [line for line in lines if line.benchmark == "scale epochs" and line.latency_ms]
    if not chosen:
        return ""
    title = f"Latency by length of an epoch, {chosen[0].variant}"
    series = {
        name: [(line.extra["interval_ms"], line.latency_ms[part]) for line in chosen if part in line.latency_ms]
        for name, part in (("median", "p50"), ("99 %", "p99"), ("99.9 %", "p999"))
    }
    picture = svg.curves(title, series, svg.Axis("ms an epoch"), svg.Axis("ms from produced to visible"))
    rows = []
    for line in chosen:
        cost = line.cpu_seconds / line.events * 1e6 if line.cpu_seconds else None
        latency = [figure(line.latency_ms.get(part)) for part in ("p50", "p99", "p999")]
        rows.append([figure(line.extra["interval_ms"]), *latency, figure(cost), millions(line.events_per_cpu_s)])
    head = ["ms an epoch", "p50 ms", "p99 ms", "p99.9 ms", "CPU s per M events", "M events/CPU s"]
    said = "From the embedded log to the embedded log, exactly once, every epoch synced to disk.\n\n"
    return f"### Epochs\n\n{said}{page.plot('scale_epochs', picture, title)}\n{table(head, rows)}"


def _soak(page: Page, lines: Sequence[Line]) -> str:
    text = ""
    for line in (line for line in lines if line.benchmark == "scale soak"):
        points = line.extra["points"]  # [seconds, events a second, MB]
        title = f"{line.query}: {line.extra['minutes']:.0f} minutes"
        rate = svg.curves(
            title + ", rate", {"M events/s": [(s, r / 1e6) for s, r, _ in points]}, svg.Axis("seconds", log=False),
            svg.Axis("M events/s", log=False, least=0.0),
        )  # fmt: skip
        memory = svg.curves(
            title + ", memory", {"MB": [(s, mb) for s, _, mb in points]}, svg.Axis("seconds", log=False),
            svg.Axis("MB held", log=False, least=0.0),
        )  # fmt: skip
        text += f"### A long run\n\n{line.events:,} events. The rate of the last tenth is "
        text += f"{figure(line.extra['last_over_first'])} of the first's after warming up; memory grew by "
        text += f"{figure(line.extra['mb_per_minute'])} MB a minute over the second half.\n\n"
        text += page.plot("soak_rate", rate, "rate over time") + page.plot("soak_memory", memory, "memory over time")
    return text
