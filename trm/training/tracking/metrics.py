"""What a run tells of itself: what enters are the metrics of each step, what leaves is a file and a progress bar."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trm.storage.files import replacing, writing


class MetricsLog:
    """Appends one JSON object per line to a file, from which it first drops what lies after the step it starts at."""

    def __init__(self, path: Path, start: int, on_metrics: Callable[[dict[str, Any]], None] | None):
        self._path, self._start, self._on_metrics = path, start, on_metrics
        self._file: TextIO

    def __enter__(self):
        kept = []
        with writing(self._path):
            lines = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
            for line in lines.splitlines():
                # A killed run can leave half a line at the end.
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= self._start:
                        kept.append(line)
            with replacing(self._path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, values: dict[str, Any]) -> None:
        # JSON has no NaN: a mean over nothing is left out.
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        with writing(self._path):
            self._file.write(json.dumps(values) + "\n")
        if self._on_metrics:
            self._on_metrics(values)


class ProgressBar:
    """The progress bar: loss, exact accuracy, speed, time left."""

    def __init__(self, console: Console, steps: int, start: int, batch_size: int, visible: bool):
        self._progress = Progress(
            # All of it fits into 80 columns.
            BarColumn(bar_width=6),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not visible,
        )
        self._task = self._progress.add_task("train", total=steps, completed=start, text="compiling")
        self._batch_size = batch_size
        self._exact_accuracy = math.nan
        self._previous: tuple[int, float] | None = None
        self._steps_per_second = math.nan

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def print(self, text: str) -> None:
        if not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)

    def advance(self, step: int, values: dict[str, float]) -> None:
        now = time.monotonic()
        if self._previous:
            speed = (step - self._previous[0]) / max(now - self._previous[1], 1e-9)
            # The first difference stands alone; after that, a moving average.
            old = self._steps_per_second
            self._steps_per_second = speed if math.isnan(old) else 0.9 * old + 0.1 * speed
        self._previous = (step, now)
        if not math.isnan(values["exact_accuracy"]):
            # Only sequences that halted count, few a step: smooth it.
            old = self._exact_accuracy
            new = values["exact_accuracy"]
            self._exact_accuracy = new if math.isnan(old) else 0.9 * old + 0.1 * new
        text = f"loss {values['lm_loss']:.3f} exact {self._exact_accuracy:.3f}"
        if not math.isnan(self._steps_per_second):
            puzzles = self._steps_per_second * self._batch_size
            text += f" {self._steps_per_second:.1f} steps/s {puzzles:.0f} puzzles/s"
        self._progress.update(self._task, completed=step, text=text)
