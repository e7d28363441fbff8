"""A real Apache Kafka for tests and for people: jars from Maven Central, run with java, on free loopback ports."""
