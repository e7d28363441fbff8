"""What can go wrong, by whose fault it is.

Every error that windrow raises on purpose is a `WindrowError`; its text is a sentence that says what was met, where,
and what was expected or can be done.
"""

from __future__ import annotations


class WindrowError(Exception):
    """Base of all errors that windrow raises on purpose."""


class PlanError(WindrowError):
    """The pipeline as written cannot work: raised while it is built, naming the step and the columns there are."""


class RecordError(WindrowError):
    """A record could not be processed and the source's ``on_error`` is ``"fail"``."""


class LogError(WindrowError):
    """The embedded log cannot do what was asked: no such topic, offset out of range, wrong schema."""


class CorruptionError(LogError):
    """Stored bytes are not the bytes that were written; the message names the file and the place."""


class BrokerError(WindrowError):
    """A Kafka cluster cannot do what was asked: not reachable, no such topic, not allowed, an offset that is gone."""


class FencedError(WindrowError):
    """Another process has taken over this job; this one must stop and has committed nothing since."""


class StateError(WindrowError):
    """Saved state does not fit the job that wants to resume from it."""


class AggregateError(WindrowError):
    """An aggregate's value left the range of its type; nothing of the epoch was committed."""


class InvariantError(WindrowError):
    """windrow broke one of its own promises: a bug. Please report it with the message."""
