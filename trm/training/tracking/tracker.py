"""The protocol of trackers, which take the metrics of a run. A tracker that fails gives a warning and never ends the
run.

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
        """Close the tracker; called once, however the run ends."""
        ...


Hook = Tracker | Callable[[dict[str, Any]], None]
"""A tracker, or a function that takes one line of metrics."""

Position = tuple[int, int]
"""Position of a line in a run: its step, and its place among the lines of that step."""


def position_of(metrics: dict[str, Any]) -> Position:
    """Return the position of a line: that of a training step comes before evaluations, those on the test set last.

    A run that is resumed, or rewinds, repeats lines: all lines from the first repeated one on.
    """
    names = _names_of(metrics)
    is_training = any(name.startswith("train/") for name in names)
    return metrics["step"], 0 if is_training else 2 if any(name.startswith("test/") for name in names) else 1


class Seen:
    """The newest line that a tracker has written, to tell lines that a run repeats from new ones."""

    def __init__(self, position: Position = (0, 0)):
        self.position = position
        self._names: set[str] | None = None

    def is_again(self, metrics: dict[str, Any]) -> bool:
        """Return whether a line was written before. In one evaluation each set has a line of its own."""
        position = position_of(metrics)
        if position != self.position:
            return position < self.position
        return self._names is None or not self._names.isdisjoint(_names_of(metrics))

    def add(self, metrics: dict[str, Any]) -> None:
        """Record a line as written."""
        position = position_of(metrics)
        names = _names_of(metrics)
        self._names = names | (self._names or set()) if position == self.position else names
        self.position = position


def _names_of(metrics: dict[str, Any]) -> set[str]:
    return {name for name in metrics if "/" in name}


WARN_SECONDS = 60
"""Seconds between two warnings of one tracker."""


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
        """Pass a line to every tracker, without NaN, the mean over nothing, which JSON does not have."""
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
