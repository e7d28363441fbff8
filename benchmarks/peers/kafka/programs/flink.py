"""The job of `benchmarks.peers.kafka` in Flink SQL: BOOTSTRAP INPUT OUTPUT GROUP final|current COMMIT_MS STATE JARS."""

import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

bootstrap, source, target, group, mode, commit_ms, state, jars = sys.argv[1:]
checkpoints = Path(state) / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
last = sorted(checkpoints.glob("*/chk-*/_metadata"), key=lambda path: path.stat().st_mtime)

settings = Configuration()
for name, value in {
    "pipeline.jars": ";".join(f"file://{jar}" for jar in jars.split(":")),
    "pipeline.object-reuse": "true",
    "parallelism.default": "1",
    "execution.checkpointing.interval": f"{commit_ms} ms",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.dir": f"file://{checkpoints}",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.num-retained": "2",
    "state.backend.type": "hashmap",
    "taskmanager.memory.process.size": "3g",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "100 ms",
    "table.exec.mini-batch.size": "10000",
    "table.local-time-zone": "UTC",
    **({"execution.state-recovery.path": f"file://{last[-1].parent}"} if last else {}),
}.items():
    settings.set_string(name, value)

env = TableEnvironment.create(
    EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(settings).build()
)
kafka = f"'properties.bootstrap.servers' = '{bootstrap}'"
env.execute_sql(f"""
    CREATE TABLE bids (
        auction BIGINT, price BIGINT, ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
        WATERMARK FOR ts AS ts - INTERVAL '4' SECOND
    ) WITH (
        'connector' = 'kafka', 'topic' = '{source}', {kafka}, 'properties.group.id' = '{group}',
        'properties.isolation.level' = 'read_committed', 'properties.max.partition.fetch.bytes' = '8388608',
        'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
    )""")
if mode == "final":
    env.execute_sql(f"""
        CREATE TABLE results (auction BIGINT, window_start BIGINT, bids BIGINT, spent BIGINT, top BIGINT) WITH (
            'connector' = 'kafka', 'topic' = '{target}', {kafka}, 'format' = 'json', 'key.format' = 'json',
            'key.fields' = 'auction', 'sink.delivery-guarantee' = 'exactly-once',
            'sink.transactional-id-prefix' = '{group}', 'properties.transaction.timeout.ms' = '600000',
            'properties.linger.ms' = '20', 'properties.batch.size' = '262144'
        )""")
    env.execute_sql("""
        INSERT INTO results
        SELECT auction, UNIX_TIMESTAMP(CAST(window_start AS STRING)) * 1000, COUNT(*), SUM(price), MAX(price)
        FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)
        GROUP BY auction, window_start, window_end""").wait()
else:
    env.execute_sql(f"""
        CREATE TABLE results (
            auction BIGINT, window_start BIGINT, bids BIGINT, spent BIGINT, top BIGINT,
            PRIMARY KEY (auction, window_start) NOT ENFORCED
        ) WITH (
            'connector' = 'upsert-kafka', 'topic' = '{target}', {kafka}, 'key.format' = 'json', 'value.format' = 'json',
            'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{group}',
            'properties.transaction.timeout.ms' = '600000', 'properties.linger.ms' = '1'
        )""")
    env.execute_sql("""
        INSERT INTO results
        SELECT auction, started, COUNT(*), SUM(price), MAX(price)
        FROM (SELECT auction, price, CAST(FLOOR(UNIX_TIMESTAMP(CAST(ts AS STRING)) / 10) AS BIGINT) * 10000 AS started
              FROM bids)
        GROUP BY auction, started""").wait()
