"""The embedded log: partitioned topics and the ledger, in a directory."""
