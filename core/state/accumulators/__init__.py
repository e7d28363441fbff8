"""What an aggregate keeps for each group."""
