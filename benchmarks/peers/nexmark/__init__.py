"""Nexmark and the Yahoo streaming benchmark from memory and files: windrow and others, each a program of its own."""
