"""Fuzzing of all readers: `python scripts/fuzz TARGET`."""
