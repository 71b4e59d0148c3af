"""Benchmarks: `python scripts/benchmark COMMAND`."""
