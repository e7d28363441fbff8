"""State of joins: the rows of both sides, by key."""
