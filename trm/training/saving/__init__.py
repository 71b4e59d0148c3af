"""Saving a run while it goes on: when a checkpoint is due, the copy on the host, the thread that writes it."""
