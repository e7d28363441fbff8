"""The job of `benchmarks.peers.kafka` in Spark: BOOTSTRAP INPUT OUTPUT GROUP final|current COMMIT_MS STATE JARS."""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

bootstrap, source, target, group, mode, commit_ms, state, jars = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[1]")
    .appName(group)
    .config("spark.jars", jars.replace(":", ","))
    .config("spark.driver.memory", "3g")
    .config("spark.sql.shuffle.partitions", "4")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.streaming.metricsEnabled", "false")
    .config("spark.sql.adaptive.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
bids = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", bootstrap)
    .option("subscribe", source)
    .option("startingOffsets", "earliest")
    .option("kafka.isolation.level", "read_committed")
    .option("maxOffsetsPerTrigger", 500_000)
    .load()
    .select(f.from_json(f.col("value").cast("string"), "auction bigint, price bigint").alias("bid"), "timestamp")
    .select("bid.auction", "bid.price", "timestamp")
)
totals = (
    bids.withWatermark("timestamp", "4 seconds")
    .groupBy("auction", f.window("timestamp", "10 seconds").alias("w"))
    .agg(f.count("*").alias("bids"), f.sum("price").alias("spent"), f.max("price").alias("top"))
)
start_ms = f.unix_millis(f.col("w.start")).alias("window_start")
rows = totals.select(
    f.col("auction").cast("string").alias("key"),
    f.to_json(f.struct("auction", start_ms, "bids", "spent", "top")).alias("value"),
)
query = (
    rows.writeStream.format("kafka")
    .option("kafka.bootstrap.servers", bootstrap)
    .option("topic", target)
    .option("checkpointLocation", f"{state}/checkpoint")
    .outputMode("append" if mode == "final" else "update")
    .trigger(processingTime=f"{commit_ms} milliseconds")
    .start()
)
query.awaitTermination()
