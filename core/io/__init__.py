"""Connectors: one folder each; none imports another."""
