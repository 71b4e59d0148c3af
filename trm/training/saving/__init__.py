"""Saving during a run: when a checkpoint is due, the copy on the host, the thread that writes it."""
