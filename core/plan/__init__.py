"""Plans: what a job does, as immutable data; no arrays, no I/O."""
