"""Parquet, JSON, CSV and Arrow IPC files as sources and sinks."""
