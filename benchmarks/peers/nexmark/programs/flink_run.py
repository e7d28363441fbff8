"""Flink's part of `benchmarks.peers.nexmark`: SQL over JSON lines or Parquet, in a small cluster inside this process.

As its documentation on performance tuning advises: object reuse, mini batches with two-phase aggregation, heap state.
No checkpoints are made. Results go to the ``blackhole`` connector.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment
from rounds import TASK, rounds

_COLUMNS = {
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), "
    "extra STRING",
    "auction": "id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT, "
    "`dateTime` TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING",
    "person": "id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING, "
    "`dateTime` TIMESTAMP(3), extra STRING",
    "view": "user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, "
    "`dateTime` TIMESTAMP(3), ip_address STRING",
}
_RANKS = ("price < 10000", "price >= 10000 AND price < 1000000", "price >= 1000000")
_COUNTS = ", ".join(f"count(*) FILTER (WHERE {rank}) AS rank{n}_bids" for n, rank in enumerate(_RANKS, 1))
_TEN = "TABLE(TUMBLE(TABLE {}, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))"
QUERIES = {
    "q0": "SELECT auction, bidder, price, `dateTime`, extra FROM bid",
    "q1": "SELECT auction, bidder, 0.908 * price AS price, `dateTime`, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
    "q5": """WITH counts AS (SELECT auction, count(*) AS num, window_start, window_end
            FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
            GROUP BY auction, window_start, window_end),
        best AS (SELECT max(num) AS most, window_start, window_end FROM counts GROUP BY window_start, window_end)
        SELECT c.auction, c.num FROM counts c JOIN best b
        ON c.num = b.most AND c.window_start = b.window_start AND c.window_end = b.window_end""",
    "q7": f"""SELECT b.auction, b.price, b.bidder, b.`dateTime`, b.extra FROM bid b JOIN (
            SELECT max(price) AS most, window_end FROM {_TEN.format("bid")} GROUP BY window_start, window_end) m
        ON b.price = m.most WHERE b.`dateTime` BETWEEN m.window_end - INTERVAL '10' SECOND AND m.window_end""",
    "q8": f"""SELECT p.id, p.name, p.window_start FROM (
            SELECT id, name, window_start, window_end FROM {_TEN.format("person")}
            GROUP BY id, name, window_start, window_end) p
        JOIN (SELECT seller, window_start, window_end FROM {_TEN.format("auction")}
            GROUP BY seller, window_start, window_end) a
        ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end""",
    "q11": """SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
        FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
        GROUP BY bidder, window_start, window_end""",
    "q17": f"""SELECT auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') AS `day`, count(*) AS total_bids, {_COUNTS},
        min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
        FROM bid GROUP BY auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd')""",
    "q18": """SELECT auction, bidder, price, channel, url, `dateTime`, extra FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY `dateTime` DESC) AS place FROM bid)
        WHERE place <= 1""",
    "q20": """SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.`dateTime`, b.extra, a.itemName, a.description,
        a.initialBid, a.reserve, a.`dateTime` AS auction_dateTime, a.expires, a.seller, a.category,
        a.extra AS auction_extra FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
    # A join with a table loses the event time: views are counted by ad first, then by campaign.
    "ysb": """SELECT campaign, window_start, sum(n) AS `views` FROM (
            SELECT ad_id, window_start, window_end, count(*) AS n FROM TABLE(
                TUMBLE(DATA => TABLE seen, TIMECOL => DESCRIPTOR(`dateTime`), SIZE => INTERVAL '10' SECOND))
            GROUP BY ad_id, window_start, window_end) JOIN campaigns ON ad_id = ad
        GROUP BY campaign, window_start""",
}

#: Queries whose rows change, which no file can hold: they are collected.
_CHANGING = ("q17", "q18", "ysb")


def environment(data: Path) -> TableEnvironment:
    settings = Configuration()
    for name, value in {
        "parallelism.default": TASK["cores"],
        "pipeline.object-reuse": "true",
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "2 s",
        "table.exec.mini-batch.size": "50000",
        "table.optimizer.agg-phase-strategy": "TWO_PHASE",
        "table.local-time-zone": "UTC",
        "taskmanager.memory.network.max": "256m",
    }.items():
        settings.set_string(name, str(value))
    chosen = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(settings).build()
    made = TableEnvironment.create(chosen)
    for kind in TASK.get("kinds", ()):
        # Parquet files of one row group each: others are read in parts, in any order, so that events come late.
        lanes = "whole" if TASK["source"] == "parquet" else "lanes"
        folder = data / f"{lanes}{TASK['cores']}" / f"{kind}-{TASK['source']}"
        made.execute_sql(
            f"CREATE TABLE `{kind}` ({_COLUMNS[kind]}, WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND) "
            f"WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = '{TASK['source']}')"
        )
    if TASK.get("query") == "ysb":
        made.execute_sql(
            "CREATE TABLE campaigns (ad STRING, campaign BIGINT) WITH ('connector' = 'filesystem', "
            f"'path' = 'file://{data}/campaigns.json', 'format' = 'json')"
        )
        seen = "SELECT ad_id, `dateTime` FROM `view` WHERE event_type = 'view'"
        made.execute_sql(f"CREATE TEMPORARY VIEW seen AS {seen}")
    return made


def run(data: Path, out: Path | None) -> None:
    made = environment(data)
    query = TASK["query"]
    sql = QUERIES[query]
    if out is None:
        made.execute_sql(f"CREATE TABLE sink WITH ('connector' = 'blackhole') AS {sql}").wait()
        return
    if query not in _CHANGING:
        options = f"'connector' = 'filesystem', 'path' = 'file://{out}', 'format' = 'json'"
        made.execute_sql(f"CREATE TABLE sink WITH ({options}) AS {sql}").wait()
        for path in [path for path in out.rglob("*") if path.is_file()]:
            path.rename(path.with_name(f"{path.name.strip('.')}.json"))
        return
    # Rows that are taken back again are left out on the way; one at a time to Python would take minutes.
    made.sql_query(sql).to_pandas().to_parquet(out / "rows.parquet")


# On the class path of the JVM, as in lib/ of a cluster: with `pipeline.jars` every job loads these classes once more,
# and runs them cold.
os.environ["HADOOP_CLASSPATH"] = sys.argv[2]
environment(Path())  # the JVM starts here, so that it counts as start-up
rounds(run)
