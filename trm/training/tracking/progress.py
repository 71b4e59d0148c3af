"""The progress of a run on the terminal; without a terminal a plain line now and then.

Entry: `Progress`.
"""

import datetime
import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_LINE_SECONDS = 30
"""Time between two plain lines."""
SMOOTHING = 0.9
"""Weight of the past in the moving averages that are shown."""


class Progress:
    """Shows loss, exact accuracy, speed and the time left."""

    def __init__(self, console: Console, steps: int, start: int, visible: bool = True):
        self._console, self._steps, self._visible = console, steps, visible
        self._bar = RichProgress(
            # All of it fits into 80 columns.
            BarColumn(bar_width=6),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not (visible and console.is_terminal),
        )
        self._task = self._bar.add_task("train", total=steps, completed=start, text="compiling")
        self._exact_accuracy, self._steps_per_second = math.nan, math.nan
        self._printed = time.monotonic()
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def print(self, text: str) -> None:
        if self._visible:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def log(self, metrics: dict[str, Any], /) -> None:
        if "train/lm_loss" not in metrics:
            return
        step = metrics["step"]
        self._steps_per_second = _smooth(self._steps_per_second, metrics.get("train/steps_per_second", math.nan))
        # Only sequences that halted count, few a step.
        self._exact_accuracy = _smooth(self._exact_accuracy, metrics.get("train/exact_accuracy", math.nan))
        text = f"loss {metrics['train/lm_loss']:.3f} exact {self._exact_accuracy:.3f}"
        if not math.isnan(self._steps_per_second):
            puzzles = metrics.get("train/puzzles_per_second", math.nan)
            puzzles *= self._steps_per_second / metrics.get("train/steps_per_second", math.nan)
            text += f" {self._steps_per_second:.1f} steps/s {puzzles:.0f} puzzles/s"
        self._bar.update(self._task, completed=step, text=text)
        if not self._console.is_terminal and time.monotonic() - self._printed >= PLAIN_LINE_SECONDS:
            self._printed = time.monotonic()
            self.print(f"step {step}/{self._steps}: {text}{self._time_left(step)}")

    def _time_left(self, step: int) -> str:
        if math.isnan(self._steps_per_second):
            return ""
        return f" {datetime.timedelta(seconds=round((self._steps - step) / self._steps_per_second))} left"


def _smooth(old: float, new: float) -> float:
    """Return a moving average, begun by the first number."""
    if math.isnan(old) or math.isnan(new):
        return old if math.isnan(new) else new
    return SMOOTHING * old + (1 - SMOOTHING) * new
