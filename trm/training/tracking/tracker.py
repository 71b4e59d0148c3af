"""Trackers: where the metrics of a run go. A tracker that fails warns, and never ends the run.

Entry: the `Tracker` protocol, and `Trackers`, which passes every line of metrics to several.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """Takes the metrics of a run, such as a file, a progress bar or a service."""

    def log(self, metrics: dict[str, Any], /) -> None:
        """Take one line of metrics: `step`, `time`, and metrics of a training step or of an evaluation."""
        ...

    def close(self) -> None:
        """End; called once, however the run ends."""
        ...


Hook = Tracker | Callable[[dict[str, Any]], None]
"""A tracker, or a function that takes one line of metrics."""

Position = tuple[int, int]
"""Where a line stands in a run: its step, and its place among the lines of that step."""


def position_of(metrics: dict[str, Any]) -> Position:
    """Return the position of a line: that of a training step comes before evaluations, those on the test set last.

    A run that goes on, or back, makes lines again. All lines at or after the first of them are made again.
    """
    names = _names_of(metrics)
    is_training = any(name.startswith("train/") for name in names)
    return metrics["step"], 0 if is_training else 2 if any(name.startswith("test/") for name in names) else 1


class Seen:
    """The newest line that a tracker has written, which tells lines that a run makes again from new ones."""

    def __init__(self, position: Position = (0, 0)):
        self.position = position
        self._names: set[str] | None = None

    def is_again(self, metrics: dict[str, Any]) -> bool:
        """Return whether a line was written before. Several sets have a line each in one evaluation."""
        position = position_of(metrics)
        if position != self.position:
            return position < self.position
        return self._names is None or not self._names.isdisjoint(_names_of(metrics))

    def add(self, metrics: dict[str, Any]) -> None:
        """Take a line that is written."""
        position = position_of(metrics)
        names = _names_of(metrics)
        self._names = names | (self._names or set()) if position == self.position else names
        self.position = position


def _names_of(metrics: dict[str, Any]) -> set[str]:
    return {name for name in metrics if "/" in name}


WARN_SECONDS = 60
"""Time between two warnings of one tracker."""


class Trackers:
    """Several trackers as one."""

    def __init__(self, hooks: Sequence[Hook], warn: Callable[[str], None]):
        self._hooks, self._warn = hooks, warn
        self._warned_at: dict[int, float] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for i, hook in enumerate(self._hooks):
            if isinstance(hook, Tracker):
                self._guard(i, hook.close)

    def log(self, metrics: dict[str, Any]) -> None:
        """Pass a line on. JSON has no NaN: a mean over nothing is left out."""
        metrics = {name: value for name, value in metrics.items() if not _is_nan(value)}
        for i, hook in enumerate(self._hooks):
            self._guard(i, hook.log if isinstance(hook, Tracker) else hook, dict(metrics))

    def _guard(self, i: int, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            # A network or a disk that fails must not cost hours of training.
            if time.monotonic() - self._warned_at.get(i, -math.inf) >= WARN_SECONDS:
                self._warned_at[i] = time.monotonic()
                hook = self._hooks[i]
                name = getattr(hook, "__name__", type(hook).__name__)
                self._warn(f"warning: {name}: {type(error).__name__}: {error}; the run goes on without it")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
