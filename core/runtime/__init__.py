"""Runs a plan: builds its operators, drives epochs, exchanges rows between shards, counts."""
