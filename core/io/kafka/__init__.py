"""Kafka: topics as sources and sinks, and a cluster as a job's ledger. The only package that imports kafka-python."""
