"""Engines and brokers that are killed again and again, and what came of it."""
