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
