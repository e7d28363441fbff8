"""Keyed state in numpy columns, and its way to Arrow and back."""
