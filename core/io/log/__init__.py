"""The embedded log: partitioned topics and the ledger, in a directory.

``store`` holds the truth (SQLite), ``segments`` and ``work`` write, ``index`` and ``maps`` read; ``log.Log`` is what
users hold. ``LogSource``, ``LogSink`` and ``LogLedger`` are what a job sees of it.
"""
