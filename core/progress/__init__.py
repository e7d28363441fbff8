"""Progress: what an epoch is, what the ledger holds, and the decisions about both."""
