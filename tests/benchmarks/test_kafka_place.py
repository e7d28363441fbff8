"""Benchmarks in processes of their own share a broker, and leave the environment as it was (law)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from benchmarks import kafka_place
from tests.broker.jars import NEWEST


@contextlib.contextmanager
def _ours() -> Iterator[str]:
    """In place of a broker: says where it would be started."""
    yield f"on all but {sorted(os.sched_getaffinity(0))}"


def test_a_shared_place_is_found_by_what_is_run_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINDROW_BENCH_KAFKA", raising=False)
    every = os.sched_getaffinity(0)
    with monkeypatch.context() as patched:
        patched.setattr(kafka_place, "place", _ours)
        with kafka_place.shared_place():
            assert os.environ["WINDROW_BENCH_KAFKA"] == f"on all but [{max(every)}]"
            assert kafka_place.broker_versions()["kafka"] == NEWEST
            assert os.sched_getaffinity(0) == every, "what is measured may use all cores"
    assert "WINDROW_BENCH_KAFKA" not in os.environ
    assert os.sched_getaffinity(0) == every


def test_brokers_that_are_given_stay_the_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDROW_BENCH_KAFKA", "one:9092")
    with kafka_place.shared_place(), kafka_place.place() as bootstrap:
        assert bootstrap == "one:9092"
        assert kafka_place.broker_versions()["kafka"] == "as given"
    assert os.environ["WINDROW_BENCH_KAFKA"] == "one:9092"
