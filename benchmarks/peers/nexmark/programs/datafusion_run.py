"""DataFusion's part of `benchmarks.peers.nexmark`: one query over all events, the result collected as Arrow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from batch_sql import Dialect, queries
from datafusion import SessionConfig, SessionContext
from rounds import TASK, files, rounds

DIALECT = Dialect(
    ms="(CAST(CAST({} AS TIMESTAMP) AS BIGINT) / 1000000)",
    time="to_timestamp_millis({})",
    divide="({} / {})",
    hops="(VALUES (0), (1), (2), (3), (4)) AS hops(step)",
    day="to_char({}, '%Y-%m-%d')",
)
_TEXTS = {
    "bid": ("channel", "url", "extra"),
    "person": ("name", "emailAddress", "creditCard", "city", "state", "extra"),
    "auction": ("itemName", "description", "extra"),
    "view": ("user_id", "page_id", "ad_id", "ad_type", "event_type", "ip_address"),
}
_INTS = {
    "bid": ("auction", "bidder", "price"),
    "person": ("id",),
    "auction": ("id", "initialBid", "reserve", "seller", "category"),
    "view": (),
}
config = SessionConfig().with_target_partitions(TASK["cores"]).with_parquet_pruning(True)
config = config.set("datafusion.sql_parser.enable_ident_normalization", "false")
#: Folder, source and kinds -> a context that has them; two, so that what is measured stays beside what is checked.
contexts: dict[tuple[object, ...], SessionContext] = {}


def schema(kind: str) -> pa.Schema:
    times = ("dateTime", "expires") if kind == "auction" else ("dateTime",)
    fields = [(name, pa.string()) for name in _TEXTS[kind]] + [(name, pa.int64()) for name in _INTS[kind]]
    return pa.schema([*fields, *((name, pa.timestamp("us")) for name in times)])


def prepare(data: Path) -> None:
    wanted = (data, TASK["source"], *TASK["kinds"])
    context = contexts.pop(wanted, None)
    if context is not None:
        contexts[wanted] = context
        return
    if len(contexts) == 2:
        del contexts[next(iter(contexts))]
    contexts[wanted] = context = SessionContext(config)
    for kind in TASK["kinds"]:
        paths = files(data, kind, *((1, "parquet") if TASK["source"] == "memory" else ()))
        if TASK["source"] == "json":
            context.register_json(kind, str(Path(paths[0]).parent), schema=schema(kind), file_extension=".json")
        elif TASK["source"] == "parquet":
            context.register_parquet(kind, str(Path(paths[0]).parent))
        else:
            batches = pq.read_table(paths[0]).to_batches(max_chunksize=131_072)
            context.register_record_batches(kind, [batches[n :: TASK["cores"]] for n in range(TASK["cores"])])
    if TASK["query"] == "ysb":
        context.register_parquet("campaigns", str(data / "campaigns.parquet"))


def run(data: Path, out: Path | None) -> None:
    found = next(reversed(contexts.values())).sql(queries(DIALECT)[TASK["query"]]).to_arrow_table()
    if out is not None:
        pq.write_table(found, out / "rows.parquet")


rounds(run, prepare=prepare)
