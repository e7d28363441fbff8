"""Stateful operators: batch in, batch out; none imports another."""
