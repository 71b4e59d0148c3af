"""The metrics of training steps: fetched one step late, checked, and logged.

Entry: `StepMetrics`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trm.parallel.mesh import fetch
from trm.supervision.loss import Metrics, divide
from trm.training.nonfinite import NonFinite
from trm.training.tracking.measured import Measured
from trm.training.tracking.record import Record

PER_STEP = ("lr", "gradient_norm", "parameter_norm", "rows")
"""Metrics that are not sums over sequences."""


class StepMetrics:
    """Metrics of the last step, left on the device until the next step runs: the device never waits for the host."""

    def __init__(
        self,
        batch_size: int,
        newest: Callable[[], Path | None],
        record: Record,
        measured: Measured,
        rows_used: int,
    ):
        """Take, among others, the function that finds the newest checkpoint."""
        self._batch_size, self._newest, self._record, self._measured = batch_size, newest, record, measured
        self.rows_used = rows_used
        """Training rows that the reported steps took from the queue."""
        self._pending: tuple[int, Metrics] | None = None

    def add(self, step: int, sums: Metrics) -> None:
        """Take the metrics of a dispatched step, after those of the step before it were reported."""
        self._pending = step, sums

    def skip(self, step: int, rows: int) -> None:
        """Log a skipped step after the pending step was reported; `rows` are the training rows that it dropped."""
        self.rows_used += rows
        self._record.log({"step": step, "train/skipped": 1})
        self._measured.restart()

    def report(self) -> None:
        """Log the metrics of the pending step, if there is one; raise NonFinite if one is not finite."""
        if self._pending is None:
            return
        (step, sums), self._pending = self._pending, None
        values = {name: float(value) for name, value in fetch(sums).items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFinite(step, f"{name} is {value}", self._newest())
        self.rows_used += int(values.get("rows", 0))
        of_step = {name: values.pop(name) for name in PER_STEP if name in values}
        means: dict[str, Any] = {"count": values["count"]} | divide(values, self._batch_size)
        values = means | of_step | self._measured.step(step)
        self._record.log({"step": step} | {f"train/{name}": value for name, value in values.items()})
