"""How streams and jobs look in a notebook. All text is escaped: names may come from data."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from windrow.datatypes import Schema
from windrow.units import format_time_us

if TYPE_CHECKING:
    from windrow.api.job import Job


def schema_html(title: str, schema: Schema) -> str:
    """A table of columns and types."""
    rows = "".join(f"<tr><td>{escape(f.name)}</td><td>{escape(str(f.type))}</td></tr>" for f in schema)
    return f"<b>{escape(title)}</b><table><tr><th>column</th><th>type</th></tr>{rows}</table>"


def job_html(job: Job) -> str:
    """The plan, and how the job stands."""
    p = job.progress
    figures = {
        "epoch": f"{p.epoch:,}",
        "events": f"{p.events:,}",
        "events/s": f"{p.events_per_s:,.0f}",
        "lag": f"{p.lag:,}",
        "watermark": format_time_us(p.watermark_us) if p.epoch else "none",
        "state": f"{p.state_bytes:,} bytes",
    }
    head = "".join(f"<th>{escape(name)}</th>" for name in figures)
    row = "".join(f"<td>{escape(value)}</td>" for value in figures.values())
    return f"<pre>{escape(job.explain())}</pre><table><tr>{head}</tr><tr>{row}</tr></table>"
