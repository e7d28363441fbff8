"""State of aggregates over frames of ordered rows."""
