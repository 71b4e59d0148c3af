"""The record of a run in process 0: every line of metrics goes to the trackers, with the time.

Entry: `Record`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trm.parallel.processes import is_first
from trm.training.tracking.jsonl import JsonLines
from trm.training.tracking.measured import now
from trm.training.tracking.progress import Progress
from trm.training.tracking.tracker import Hook, Trackers


class Record:
    """Metrics file, progress and hooks of a run. Only process 0 records."""

    def __init__(
        self,
        path: Path,
        progress: Progress,
        hooks: Sequence[Hook],
        steps: int,
        start: int,
        evaluation_due: bool,
    ):
        self._first = is_first()
        self._stack = contextlib.ExitStack()
        if self._first:
            self._file = JsonLines(path, start, evaluation_due)
            self._progress = progress
            progress.start(steps, start)
            trackers = Trackers([self._file, progress, *hooks], self.print)
            self._trackers = self._stack.enter_context(trackers)

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def log(self, metrics: dict[str, Any]) -> None:
        """Pass a line of metrics on."""
        if self._first:
            self._trackers.log(metrics | {"time": now()})

    def print(self, text: str) -> None:
        """Print a line above the progress."""
        if self._first:
            self._progress.print(text)

    def doing(self, what: str) -> None:
        """Show what the run does until its next training step."""
        if self._first:
            self._progress.doing(what)

    def saved(self, step: int) -> None:
        """Show that a checkpoint is in place."""
        if self._first:
            self._progress.saved(step)

    @property
    def is_lost(self) -> bool:
        """Whether the metrics file was removed or replaced."""
        return bool(self._first and self._file.is_lost)

    def reopen(self) -> None:
        """Create the metrics file again after the run folder was removed."""
        if self._first:
            self._file.reopen()
