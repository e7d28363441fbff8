"""State of rankings: the first rows of each group."""
