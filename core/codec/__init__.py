"""Bytes columns to record batches and back; no I/O."""
