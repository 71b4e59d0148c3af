"""The record of a run in process 0: every line of metrics goes to the trackers, with the time.

Entry: `Record`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trm.parallel.processes import is_first
from trm.training.tracking.jsonl import JsonLines
from trm.training.tracking.measured import now
from trm.training.tracking.progress import Progress
from trm.training.tracking.tracker import Hook, Trackers


class Record:
    """Metrics file, progress and hooks of a run. In other processes than the first it does nothing."""

    def __init__(
        self,
        path: Path,
        console: Console,
        hooks: Sequence[Hook],
        steps: int,
        start: int,
        evaluation_due: bool,
    ):
        self._first = is_first()
        self._stack = contextlib.ExitStack()
        if self._first:
            self._file = JsonLines(path, start, evaluation_due)
            self._progress = Progress(console, steps, start)
            trackers = Trackers([self._file, self._progress, *hooks], self.print)
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

    def reopen(self) -> None:
        """Begin the metrics file anew, after the run folder was removed."""
        if self._first:
            self._file.reopen()
