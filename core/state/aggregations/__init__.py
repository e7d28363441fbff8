"""State of aggregations: Tables, windows of time, sessions, counts."""
