"""windrow: a columnar micro-batch stream engine.

Events in, Arrow record batches all the way, numba kernels in between, results committed with their offsets.
The public names are loaded when first used, so that ``import windrow`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that defines it.
_PUBLIC: dict[str, str] = {
    "Stream": "windrow.api.stream",
    "Table": "windrow.api.table",
    **dict.fromkeys(("Job", "job"), "windrow.api.job"),
    **dict.fromkeys(
        (
            "read_log",
            "read_kafka",
            "read_parquet",
            "read_ipc",
            "read_csv",
            "read_json",
            "from_arrow",
            "from_source",
            "nexmark",
        ),
        "windrow.api.sources",
    ),
    **dict.fromkeys(("query",), "windrow.api.queries"),
    **dict.fromkeys(("debezium_schema", "from_debezium"), "windrow.api.debezium"),
    **dict.fromkeys(("tumbling", "hopping", "cumulate", "session", "count_window"), "windrow.api.windows"),
    **dict.fromkeys(
        (
            "count",
            "sum",
            "min",
            "max",
            "mean",
            "var",
            "stddev",
            "first",
            "last",
            "count_distinct",
            "collect_list",
            "count_if",
            "bool_and",
            "bool_or",
            "arg_min",
            "arg_max",
            "corr",
            "covar_samp",
            "covar_pop",
            "collect_set",
            "approx_count_distinct",
            "heavy_hitters",
            "quantile",
            "median",
            "udaf",
        ),
        "windrow.api.aggregates",
    ),
    **dict.fromkeys(("schema", "field"), "windrow.api.schema"),
    **dict.fromkeys(("decimal",), "windrow.datatypes"),
    **dict.fromkeys(("Limits",), "windrow.config"),
    **dict.fromkeys(("Log", "open_log"), "windrow.io.log.log"),
    **dict.fromkeys(("Secret",), "windrow.secret"),
    **dict.fromkeys(
        (
            "WindrowError",
            "PlanError",
            "RecordError",
            "LogError",
            "CorruptionError",
            "BrokerError",
            "FencedError",
            "StateError",
        ),
        "windrow.errors",
    ),
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'windrow' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
