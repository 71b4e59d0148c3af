"""Measures of halting, convergence and calibration, from arrays on the host.

Entry: `stop`, `area_under_curve`, `calibrate`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer


class Stopped(NamedTuple):
    """The steps at which a halting rule stops each puzzle."""

    steps: Integer[np.ndarray, " puzzles"]
    """Supervision steps, from 1."""
    exact: Bool[np.ndarray, " puzzles"]
    """Whether the answer there is right."""


def stop(halts: Bool[np.ndarray, "steps puzzles"], exact: Bool[np.ndarray, "steps puzzles"]) -> Stopped:
    """Stop each puzzle at the first step that halts, or at the last one."""
    steps = np.where(halts.any(axis=0), halts.argmax(axis=0) + 1, len(halts))
    return Stopped(steps, exact[steps - 1, np.arange(len(steps))])


def area_under_curve(right: Float[np.ndarray, " rights"], wrong: Float[np.ndarray, " wrongs"]) -> float | None:
    """Return the probability that a value of a right answer exceeds one of a wrong answer; a tie counts half.

    This is the area under the ROC curve: 0.5 means that the value does not separate right from wrong. None where right
    or wrong answers are missing.
    """
    if not len(right) or not len(wrong):
        return None
    values = np.sort(wrong)
    below = np.searchsorted(values, right, side="left")
    up_to = np.searchsorted(values, right, side="right")
    return float((below + up_to).mean() / (2 * len(wrong)))


class Calibration(NamedTuple):
    """Comparison of predicted probabilities with shares of right answers, in bins of equal width."""

    edges: Float[np.ndarray, " edges"]
    counts: Integer[np.ndarray, " bins"]
    probability: Float[np.ndarray, " bins"]
    """Mean probability in each bin; 0 in an empty one."""
    right: Float[np.ndarray, " bins"]
    """Share of right answers in each bin; 0 in an empty one."""
    brier: float
    """Mean square of the difference of probability and truth (G. W. Brier, Monthly Weather Review 78, 1950)."""
    expected_error: float
    """Expected calibration error: mean distance of probability and share of right answers, bins weighted by their
    counts (arXiv 1706.04599)."""


def calibrate(
    probability: Float[np.ndarray, " answers"], right: Bool[np.ndarray, " answers"], bins: int = 10
) -> Calibration:
    """Compare the probability that each answer is right with whether it is."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    # A probability on an edge belongs to the bin above it; 1 to the last.
    of_bin = np.minimum((probability.astype(np.float64) * bins).astype(np.int64), bins - 1)
    counts = np.bincount(of_bin, minlength=bins)
    predicted, found = (
        np.bincount(of_bin, values, minlength=bins) / np.maximum(counts, 1)
        for values in (probability.astype(np.float64), right.astype(np.float64))
    )
    brier = float(np.mean((probability.astype(np.float64) - right) ** 2)) if len(right) else 0.0
    error = float(np.sum(counts * np.abs(predicted - found)) / max(counts.sum(), 1))
    return Calibration(edges, counts, predicted, found, brier, error)
