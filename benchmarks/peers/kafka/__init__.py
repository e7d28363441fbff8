"""From a Kafka topic to a Kafka topic: the same query by windrow and by other engines, each a program of its own."""
