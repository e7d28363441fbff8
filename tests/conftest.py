"""What all tests share: one polars thread, no deadlines, and skipped tests that fail the run where asked."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

# Tests run in as many processes as there are cores. Set before polars is imported: it sizes its pool then.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import pytest
from hypothesis import settings

# The machine is shared: a slow example says nothing. print_blob lets a failure from CI be repeated anywhere.
settings.register_profile("windrow", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("windrow")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Apache Kafka that all tests of the run share: use topics and groups of your own."""
    need_broker()
    from tests.broker.shared import shared

    root = tmp_path_factory.getbasetemp()
    run = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    with shared(run / "broker") as bootstrap:
        yield bootstrap


def need_broker() -> None:
    """Skip where no broker can be run, saying what to install; fail where REQUIRE_BROKER is set."""
    from tests.broker.jars import missing

    lacking = missing()
    if lacking and os.environ.get("REQUIRE_BROKER"):
        pytest.fail(f"REQUIRE_BROKER is set, but {lacking}", pytrace=False)
    if lacking:
        pytest.skip(lacking)


_module: str | None = None  # that a test which may have made clients was in


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Clients that a test let die in the middle of their work look for their broker for ever after: they end with the
    file that the test is in.

    Their threads draw random numbers and format tracebacks, which Hypothesis takes for a strategy that does, and which
    CPython 3.11 cannot do while another thread parses source ("AST constructor recursion depth mismatch").
    """
    global _module
    module = item.nodeid.partition("::")[0]
    if _module is not None and _module != module:
        _close_clients()
        _module = None
    if module.startswith(("tests/kafka/", "tests/io/", "tests/benchmarks/", "tests/cli/")):
        _module = module


def _close_clients() -> None:
    if "windrow.io.kafka.fetcher" not in sys.modules:
        return
    from windrow.io.kafka.client import Cluster
    from windrow.io.kafka.fetcher import Fetcher

    gc.unfreeze()  # an engine that was never closed keeps what is alive out of the collector's sight
    for left in [one for one in gc.get_objects() if issubclass(type(one), (Cluster, Fetcher))]:
        with contextlib.suppress(Exception):
            left.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped or xfailed test fails the run")


def _left_out(config: pytest.Config) -> list[str]:
    """Tests that did not say yes or no, each with its reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not config.getoption("--fail-on-skip") or reporter is None:
        return []
    lines = []
    for report in [*reporter.stats.get("skipped", []), *reporter.stats.get("xfailed", [])]:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        lines.append(f"{report.nodeid}: {reason}")
    return lines


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _left_out(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = _left_out(config)
    if left_out:
        terminalreporter.section("failed: tests left out", red=True)
        for line in left_out:
            terminalreporter.line(line)
