"""The history of a run: its metrics, read from the run folder, also during the run.

Entry: `read_history`.
"""

import datetime
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from trm.configuration.reading import build, notes_of
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.storage.bundled import is_run
from trm.training.run_config import read_run_layers


class Curve(NamedTuple):
    """The values of one metric."""

    steps: Integer[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


class History(NamedTuple):
    """The metrics of a run."""

    path: Path
    config: Config
    notes: list[str]
    """Lines to print."""
    curves: dict[str, Curve]
    """Curves by their names in the metrics file: `train/lm_loss`, `all/exact_accuracy`."""
    clock: Curve
    """Hours at each step since the first line. The pause before a run was resumed is left out."""

    def at(self, steps: Integer[np.ndarray, " points"], unit: str) -> Float[np.ndarray, " points"]:
        """Convert steps to a unit: "steps", "puzzles" (training sequences) or "hours"."""
        if unit == "hours":
            return np.interp(steps, *self.clock)
        return steps * float(self.config.train.global_batch_size if unit == "puzzles" else 1)

    def evaluations(self, metric: str) -> dict[str, Curve]:
        """Return the curves of a metric in evaluations; only those on validation puzzles, where there are any."""
        found = {
            name: curve
            for name, curve in self.curves.items()
            if name.endswith(f"/{metric}") and not name.startswith("train/")
        }
        chosen_on = {name: curve for name, curve in found.items() if name.startswith("validation/")}
        return chosen_on or found


def read_history(run: str | Path) -> History:
    """Read the metrics of a run. Lines that are not a whole JSON object, such as one that is being written, are
    skipped.

    Raises InputError, naming the file, for a folder that is not a run or has no metrics.
    """
    run = Path(run)
    path = run / "metrics.jsonl"
    if not is_run(run):
        raise InputError(f"{run}: found no config.toml, expected the folder of a run")
    layers = read_run_layers(run / "config.toml")
    config = build(layers, str(run / "config.toml"))
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}; expected the metrics of a run") from error
    lines = [line for line in map(_parse, text.splitlines()) if line]
    points: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        for name, value in line.items():
            if "/" in name and isinstance(value, int | float) and math.isfinite(value):
                steps, values = points.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    if not points:
        raise InputError(f"{path}: found no metrics, expected a line for each step")
    curves = {name: Curve(np.array(steps), np.array(values, np.float64)) for name, (steps, values) in points.items()}
    return History(run, config, notes_of(layers), curves, _clock(lines))


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        # An incomplete line, at the end of a run that is going on or was killed.
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _clock(lines: list[dict[str, Any]]) -> Curve:
    steps, hours, before, passed = [], [], None, 0.0
    for line in lines:
        try:
            now = datetime.datetime.fromisoformat(line["time"]).timestamp()
        except (KeyError, TypeError, ValueError):
            # Runs of earlier versions have no times.
            now = before
        # The first step of a process has no speed: before it nothing ran, or the compiler.
        is_first = "train/lm_loss" in line and "train/steps_per_second" not in line
        if before is not None and now is not None and not is_first:
            passed += max(0.0, now - before) / 3600
        before = now
        if not steps or line["step"] > steps[-1]:
            steps.append(line["step"])
            hours.append(passed)
    return Curve(np.array(steps), np.array(hours))
