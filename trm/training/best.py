"""The best weights of a run so far, and early stopping.

Entry: `Best`, stored with every checkpoint as `Description.best`; `as_score`; `load_best` for the weights.
"""

import math
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from trm.checkpoints.format import load_weights
from trm.configuration.schema import TrainConfig
from trm.model.weights import Weights
from trm.parallel.processes import arrays_of_first

T = TypeVar("T", float, np.ndarray)


def as_score(metric: str, value: T) -> T:
    """Return a value of a metric so that larger is better: minus a loss."""
    return -value if metric.endswith("loss") else value


class Best(NamedTuple):
    """The best evaluation so far."""

    score: float = math.nan
    """Larger is better: the metric itself, or minus a loss. NaN: no evaluation so far, or none with labels."""
    step: int = 0
    """Step of that evaluation; 0 before the first."""
    evaluations_since: int = 0
    """Evaluations since then, none of them better."""

    @staticmethod
    def from_dict(values: dict[str, float]) -> "Best":
        """Return the inverse of `to_dict`."""
        if not values:
            return Best()
        return Best(float(values["score"]), int(values["step"]), int(values["evaluations_since"]))

    def to_dict(self) -> dict[str, float]:
        """Return plain values; nothing before the first evaluation."""
        return self._asdict() if self.step else {}

    def after(self, score: float, step: int) -> "Best":
        """Return the best evaluation after one more at `step`.

        Puzzles without labels have no score; then the last weights count as the best.
        """
        if not self.step or math.isnan(score) or score > self.score:
            return Best(score, step)
        return self._replace(evaluations_since=self.evaluations_since + 1)

    def why_stop(self, rules: TrainConfig) -> str:
        """Return the reason for early stopping; empty if there is none."""
        if not rules.patience or self.evaluations_since < rules.patience:
            return ""
        return f"no better {rules.best_metric} in {rules.patience} evaluations; the best was at step {self.step}"


def load_best(path: Path, like: Weights) -> Weights:
    """Read the best weights and place them like other weights. With several processes, process 0 reads for all."""
    arrays = arrays_of_first(lambda: jax.tree.leaves(load_weights(path)[0]), jax.tree.leaves(like))
    # The training loop forbids implicit transfers; this one is intended.
    with jax.transfer_guard("allow"):
        placed = [
            jax.make_array_from_callback(array.shape, old.sharding, lambda index, array=array: array[index])
            for array, old in zip(arrays, jax.tree.leaves(like), strict=True)
        ]
    return jax.tree.unflatten(jax.tree.structure(like), placed)
