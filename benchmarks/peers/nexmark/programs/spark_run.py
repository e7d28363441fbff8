"""Spark Structured Streaming's part of `benchmarks.peers.nexmark`: files as a stream, available-now, the noop sink.

As its documentation advises: as many shuffle partitions as cores, a schema that is given, few large micro-batches (two
files of half a million events). State is in memory with checkpoints on disk, as by default.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.window import Window
from rounds import TASK, rounds

_TIME = "dateTime TIMESTAMP"
_COLUMNS = {
    "bid": f"auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, {_TIME}, extra STRING",
    "auction": f"id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT, {_TIME}, "
    "expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING",
    "person": f"id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING, {_TIME}, "
    "extra STRING",
    "view": "user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, "
    f"{_TIME}, ip_address STRING",
}
#: Queries whose rows change: written as updates; the last one of each key counts.
_KEYS = {"q17": ["auction", "day"], "q18": ["bidder", "auction"]}
spark = (
    SparkSession.builder.master(f"local[{TASK['cores']}]")
    .config("spark.sql.shuffle.partitions", TASK["cores"])
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.memory", "6g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.streaming.metricsEnabled", "false")
    .config("spark.log.level", "ERROR")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
numbers = itertools.count()


def events(data: Path, kind: str) -> DataFrame:
    reader = spark.readStream.schema(_COLUMNS[kind]).option("maxFilesPerTrigger", 2)
    source = TASK["source"]
    if source == "json":
        reader = reader.option("timestampFormat", "yyyy-MM-dd HH:mm:ss.SSS")
    frame = reader.format(source).load(str(data / "parts" / f"{kind}-{source}"))
    return frame.withWatermark("dateTime", "4 seconds")


def q0(data: Path) -> DataFrame:
    return events(data, "bid").select("auction", "bidder", "price", "dateTime", "extra")


def q1(data: Path) -> DataFrame:
    euros = (F.lit("0.908").cast("decimal(4,3)") * F.col("price").cast("decimal(19,0)")).alias("price")
    return events(data, "bid").select("auction", "bidder", euros, "dateTime", "extra")


def q2(data: Path) -> DataFrame:
    return events(data, "bid").where("auction % 123 = 0").select("auction", "price")


def q5(data: Path) -> DataFrame:
    hop = F.window("dateTime", "10 seconds", "2 seconds")
    counts = events(data, "bid").groupBy(hop, "auction").agg(F.count("*").alias("num"))
    best = counts.groupBy("window").agg(
        F.max("num").alias("most"), F.collect_list(F.struct("auction", "num")).alias("all")
    )
    return best.select("most", F.explode("all").alias("one")).where("one.num = most").select("one.auction", "one.num")


def q7(data: Path) -> DataFrame:
    window = F.window("dateTime", "10 seconds").alias("w")
    best = events(data, "bid").groupBy(window).agg(F.max("price").alias("most")).select("w", "most")
    bids = events(data, "bid").select("auction", "price", "bidder", "dateTime", "extra")
    best = best.withColumn("w_time", F.window_time("w")).select("most", "w.start", "w.end", "w_time")
    during = F.expr("price = most AND dateTime BETWEEN w_time - INTERVAL 10 SECONDS AND w_time + INTERVAL 1 SECOND")
    found = bids.join(best, during).where("dateTime BETWEEN start AND end")
    return found.select("auction", "price", "bidder", "dateTime", "extra")


def q8(data: Path) -> DataFrame:
    ten = F.window("dateTime", "10 seconds").alias("w")
    persons = events(data, "person").groupBy(ten, "id", "name").agg(F.count("*").alias("n")).drop("n")
    sellers = events(data, "auction").groupBy(ten, "seller").agg(F.count("*").alias("n")).drop("n")
    found = persons.alias("p").join(sellers.alias("s"), F.expr("p.id = s.seller AND p.w = s.w"))
    return found.select("p.id", "p.name", F.col("p.w.start").alias("window_start"))


def q11(data: Path) -> DataFrame:
    bids = events(data, "bid").groupBy(F.session_window("dateTime", "10 seconds").alias("w"), "bidder")
    counts = bids.agg(F.count("*").alias("bid_count"))
    return counts.select("bidder", "bid_count", F.col("w.start").alias("starttime"), F.col("w.end").alias("endtime"))


def q17(data: Path) -> DataFrame:
    ranks = ("price < 10000", "price >= 10000 AND price < 1000000", "price >= 1000000")
    counts = [F.count_if(F.expr(rank)).alias(f"rank{n}_bids") for n, rank in enumerate(ranks, 1)]
    days = events(data, "bid").groupBy("auction", F.date_format("dateTime", "yyyy-MM-dd").alias("day"))
    totals = days.agg(
        F.count("*").alias("total_bids"), *counts, F.min("price").alias("min_price"), F.max("price").alias("max_price"),
        F.sum("price").alias("sum_price"),
    )  # fmt: skip
    return totals.withColumn("avg_price", F.expr("sum_price div total_bids"))


def q18(data: Path) -> DataFrame:
    row = F.struct("price", "channel", "url", "dateTime", "extra")
    last = events(data, "bid").groupBy("bidder", "auction").agg(F.max_by(row, "dateTime").alias("last"))
    return last.select("auction", "bidder", "last.*")


def q20(data: Path) -> DataFrame:
    auctions = events(data, "auction").where("category = 10")
    named = auctions.withColumnRenamed("dateTime", "auction_dateTime").withColumnRenamed("extra", "auction_extra")
    return events(data, "bid").join(named, F.expr("auction = id"))


def ysb(data: Path) -> DataFrame:
    side = F.broadcast(spark.read.parquet(str(data / "campaigns.parquet")))
    views = events(data, "view").where("event_type = 'view'").select(F.col("ad_id").alias("ad"), "dateTime")
    counts = views.join(side, "ad").groupBy(F.window("dateTime", "10 seconds").alias("w"), "campaign")
    return counts.agg(F.count("*").alias("views")).select("campaign", F.col("w.start").alias("window_start"), "views")


QUERIES: dict[str, Callable[[Path], DataFrame]] = {
    "q0": q0, "q1": q1, "q2": q2, "q5": q5, "q7": q7, "q8": q8, "q11": q11, "q17": q17, "q18": q18, "q20": q20,
    "ysb": ysb,
}  # fmt: skip


def run(data: Path, out: Path | None) -> None:
    query = TASK["query"]
    checkpoint = Path(TASK["scratch"]) / f"checkpoint-{next(numbers)}"
    mode = "update" if query in _KEYS else "append"
    writer = QUERIES[query](data).writeStream.outputMode(mode).option("checkpointLocation", str(checkpoint))
    writer = writer.trigger(availableNow=True)
    if out is None:
        writer.format("noop").start().awaitTermination()
    else:
        updates = str(Path(TASK["scratch"]) / "updates")
        shutil.rmtree(updates, ignore_errors=True)

        def keep(rows: DataFrame, number: int) -> None:
            rows.withColumn("_batch", F.lit(number)).write.mode("append").parquet(updates)

        writer.foreachBatch(keep).start().awaitTermination()
        found = spark.read.parquet(updates)
        if query in _KEYS:
            newest = Window.partitionBy(*_KEYS[query]).orderBy(F.desc("_batch"))
            found = found.withColumn("_place", F.row_number().over(newest)).where("_place = 1")
        found.write.mode("overwrite").parquet(str(out))
    shutil.rmtree(checkpoint, ignore_errors=True)


rounds(run)
