"""What users hold: streams, tables, windows, aggregates, sources, sinks, jobs."""
