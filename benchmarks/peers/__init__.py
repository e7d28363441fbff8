"""Other engines, run as their own documentation advises, over the same events as ours."""
