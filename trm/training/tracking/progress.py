"""The progress of a run: a live view on a terminal, else a plain line every half minute.

An output that fails ends no run: on a full disk lines are lost, and after a closed pipe (`| head`) nothing is printed.

Entry: `Progress`.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal

from rich.console import Console

from trm.training.tracking.live import LiveView, is_possible
from trm.training.tracking.shown import Shown

PLAIN_LINE_SECONDS = 30
"""Seconds between two plain lines."""

Show = Literal["live", "plain", "quiet"]
"""How a run shows its progress: live where a terminal can show it, else plain lines; plain lines; or warnings only."""


class Progress:
    """Shows losses, exact accuracy, speed and the time left."""

    def __init__(self, console: Console, name: str, show: Show = "live"):
        self._console, self._name, self._show = console, name, show
        self._live: LiveView | None = None

    def start(self, steps: int, start: int) -> None:
        """Begin to show a run of `steps` steps, of which `start` are made."""
        self._shown = Shown(steps, start)
        self._printed = time.monotonic()
        if self._show == "live" and is_possible(self._console):
            with self._survive_failures():
                self._live = LiveView(self._console, self._name, self._shown)

    def close(self) -> None:
        if self._live:
            self._shown.doing = ""
            with self._survive_failures():
                self._live.close()
            self._live = None

    def print(self, text: str) -> None:
        """Print a line; above the live view, where there is one. A quiet run prints warnings only."""
        if self._show == "quiet" and not text.startswith("warning: "):
            return
        with self._survive_failures():
            if self._live:
                self._live.above(lambda: self._print(text))
            else:
                self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def _survive_failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SystemExit) as error:
            # The metrics file has every step. A quiet console drops what it could not write. At a closed pipe rich's
            # own console raises SystemExit.
            self._console.quiet = True
            self._console.print()
            self._console.quiet = isinstance(error, BrokenPipeError | SystemExit)

    def doing(self, what: str) -> None:
        """Show what the run does until its next training step."""
        self._shown.doing = what

    def saved(self, step: int) -> None:
        """Show that a checkpoint is in place."""
        self._shown.saved = step, time.monotonic()

    def log(self, metrics: dict[str, Any], /) -> None:
        if not self._shown.log(metrics) or self._live or self._show == "quiet":
            return
        if time.monotonic() - self._printed >= PLAIN_LINE_SECONDS:
            self._printed = time.monotonic()
            left = self._shown.time_left
            step = metrics["step"]
            self.print(f"step {step}/{self._shown.steps}: {self._shown.text}{left and f' {left} left'}")
