"""Keys: columns as words or bytes, hashes, and the tables that turn them into dense ids."""
