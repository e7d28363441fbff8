"""The Nexmark queries in windrow's words, and what a batch engine says to the same events."""
