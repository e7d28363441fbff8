"""Crash tests: a job is killed again and again, and after every death its results are compared with a recomputation."""
