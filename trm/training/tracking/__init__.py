"""Trackers of a run's metrics: metrics file, terminal, services."""
