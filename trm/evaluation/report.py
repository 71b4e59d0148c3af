"""Reports: the accuracy of answers to the puzzles of a set, with intervals.

Every accuracy has its Wilson 95 % interval: the range of the accuracy on all puzzles of the kind, if the set is a
random draw of them. The interval does not cover the variation between training runs.

Entry: `score` for the answers to a batch, `make_report` for a whole set.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.metadata import IGNORED_LABEL
from trm.solving.reason import confidence

Interval = tuple[float, float]

Z_95 = 1.959963984540054
"""Standard deviations on either side of the mean that contain 95 % of a normal distribution."""


def wilson_interval(share: float, count: int) -> Interval:
    """Return the 95 % interval of a share of `count` puzzles (E. B. Wilson, JASA 22, 1927).

    The interval is wide enough for a mean of shares too, such as token accuracy: values between 0 and 1 have the
    largest variance when each is 0 or 1.
    """
    if not count:
        return 0.0, 1.0
    z = Z_95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    # Rounding must not put the end of an interval beyond the share itself.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


# Predictions and their scores


class Predictions(NamedTuple):
    """Puzzles and the answers to them, on the host. Padding of a batch has the blank identifier."""

    puzzle_identifiers: Integer[np.ndarray, " batch"]
    inputs: Integer[np.ndarray, "batch seq_len"]
    predictions: Integer[np.ndarray, "batch seq_len"]
    q_halt_logits: Float[np.ndarray, " batch"]


class Scores(NamedTuple):
    """Scores of the answers to a batch."""

    labelled: Bool[np.ndarray, " batch"]
    """Whether the puzzle has a label; puzzles without one do not count."""
    accuracy: Float[np.ndarray, " batch"]
    """Share of the labelled tokens that are right."""
    exact: Bool[np.ndarray, " batch"]
    """Whether all labelled tokens are right."""
    confidence: Float[np.ndarray, " batch"]
    """sigmoid(q_halt)."""
    of_kind: dict[str, Num[np.ndarray, " batch"]]
    """Scores of the puzzle kind (`PuzzleKind.metrics`); 0 where there is no label."""


def score(predictions: Predictions, labels: Integer[np.ndarray, "batch seq_len"], kind: PuzzleKind) -> Scores:
    """Compare predictions with labels."""
    valid = labels != IGNORED_LABEL
    right = (valid & (predictions.predictions == labels)).sum(axis=1)
    labels_per_puzzle = valid.sum(axis=1)
    labelled = labels_per_puzzle > 0
    # Padding is not a puzzle, and a kind need not be able to score it.
    found = kind.metrics(predictions.inputs[labelled], predictions.predictions[labelled])
    of_kind = {name: np.zeros(len(labels), values.dtype) for name, values in found.items()}
    for name, values in found.items():
        of_kind[name][labelled] = values
    return Scores(
        labelled,
        right / np.maximum(labels_per_puzzle, 1),
        right == labels_per_puzzle,
        confidence(predictions.q_halt_logits),
        of_kind,
    )


# Reports


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Share of puzzles answered right."""

    puzzles: int
    token: float
    """Mean over puzzles of the share of right tokens."""
    exact: float
    """Share of puzzles with every token right."""
    exact_interval: Interval

    @staticmethod
    def of(puzzles: int, token: float, exact: float) -> "Accuracy":
        return Accuracy(puzzles, token, exact, wilson_interval(exact, puzzles))


@dataclasses.dataclass(frozen=True)
class AccuracyByCompute:
    """Accuracy at one amount of compute."""

    steps: float
    """Supervision steps of all candidates of a puzzle, mean over puzzles."""
    candidates: int
    """Candidates of each puzzle, among which one answer was chosen."""
    accuracy: Accuracy
    without_rules: Accuracy | None = None
    """Where the rules chose the answer: the accuracy of the most confident of the same candidates."""


@dataclasses.dataclass(frozen=True)
class AccuracyByDifficulty:
    """Accuracy on puzzles of similar difficulty."""

    lowest: int
    """Lowest rating, as in the source of the puzzles."""
    highest: int
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class AccuracyByConfidence:
    """Accuracy of answers of similar confidence."""

    lowest: float
    """Lowest sigmoid(q_halt)."""
    highest: float
    mean: float
    """Mean sigmoid(q_halt) of these answers. This equals the accuracy if the network is calibrated."""
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class Report:
    """Accuracy of one set of puzzles."""

    examples: int
    """Number of puzzles with at least one label; the others do not count."""
    metrics: dict[str, float]
    """Means over these puzzles: accuracy (of tokens), exact_accuracy, q_halt_accuracy (share of answers with a
    confidence of one half or more exactly when they are right), calibration_error, steps, the metrics of the puzzle
    kind, and those that an evaluation adds."""
    intervals: dict[str, Interval]
    """95 % interval of every accuracy among the metrics."""
    by_compute: list[AccuracyByCompute]
    by_difficulty: list[AccuracyByDifficulty]
    """Empty where the set has no ratings."""
    by_confidence: list[AccuracyByConfidence]


def make_report(
    scores: Sequence[Scores],
    arrays: PuzzleArrays,
    by_compute: list[AccuracyByCompute],
    more: dict[str, float],
) -> Report:
    """Summarise the scores of the examples of a set, in order. Padding of the last batch comes after them.

    `more` are metrics that an evaluation adds or replaces.
    """
    labelled, accuracy, exact, sure = (
        np.concatenate(column)[: arrays.examples] for column in list(zip(*scores, strict=True))[:4]
    )
    ratings = arrays.example_ratings()
    by_confidence = _by_confidence(sure[labelled], accuracy[labelled], exact[labelled])
    count = int(labelled.sum())
    shares = {
        "accuracy": accuracy,
        "exact_accuracy": exact,
        "q_halt_accuracy": (sure >= 0.5) == exact,
    }
    for name in scores[0].of_kind:
        shares[name] = np.concatenate([part.of_kind[name] for part in scores])[: arrays.examples]
    metrics = {name: _mean(values[labelled]) for name, values in shares.items()}
    distances = [row.accuracy.puzzles * abs(row.mean - row.accuracy.exact) for row in by_confidence]
    metrics |= {"calibration_error": sum(distances) / count if count else math.nan} | more
    return Report(
        examples=count,
        metrics=metrics,
        intervals={key: wilson_interval(value, count) for key, value in metrics.items() if key.endswith("accuracy")},
        by_compute=by_compute,
        by_difficulty=[] if ratings is None else _by_difficulty(ratings[labelled], accuracy[labelled], exact[labelled]),
        by_confidence=by_confidence,
    )


def _by_difficulty(
    ratings: Integer[np.ndarray, " puzzles"],
    accuracy: Float[np.ndarray, " puzzles"],
    exact: Bool[np.ndarray, " puzzles"],
) -> list[AccuracyByDifficulty]:
    """Group puzzles by rating, at powers of two: 0, 1, 2 to 3, 4 to 7 and so on."""
    rows = []
    bits = np.frexp(np.maximum(ratings, 0).astype(np.float64))[1]
    for group in np.unique(bits).tolist():
        of_group = bits == group
        lowest, highest = (2 ** (group - 1), 2**group - 1) if group else (0, 0)
        rows.append(AccuracyByDifficulty(lowest, highest, _accuracy(accuracy[of_group], exact[of_group])))
    return rows


_CONFIDENCE_BINS = 10


def _by_confidence(
    confidence: Float[np.ndarray, " puzzles"],
    accuracy: Float[np.ndarray, " puzzles"],
    exact: Bool[np.ndarray, " puzzles"],
) -> list[AccuracyByConfidence]:
    """Group answers by tenths of sigmoid(q_halt), without empty tenths (arXiv 1706.04599)."""
    rows = []
    places = np.minimum((confidence * _CONFIDENCE_BINS).astype(int), _CONFIDENCE_BINS - 1)
    for place in np.unique(places).tolist():
        of_bin = places == place
        lowest, highest = place / _CONFIDENCE_BINS, (place + 1) / _CONFIDENCE_BINS
        mean = float(confidence[of_bin].mean())
        rows.append(AccuracyByConfidence(lowest, highest, mean, _accuracy(accuracy[of_bin], exact[of_bin])))
    return rows


def accuracy_of(scores: Sequence[Scores]) -> Accuracy:
    """Return the accuracy on all puzzles of several batches."""
    labelled, accuracy, exact = (np.concatenate(column) for column in list(zip(*scores, strict=True))[:3])
    return _accuracy(accuracy[labelled], exact[labelled])


def _accuracy(accuracy: Float[np.ndarray, " puzzles"], exact: Bool[np.ndarray, " puzzles"]) -> Accuracy:
    return Accuracy.of(len(exact), _mean(accuracy), _mean(exact))


def _mean(values: Num[np.ndarray, " puzzles"] | Bool[np.ndarray, " puzzles"]) -> float:
    """Return the mean; NaN for no values."""
    return float(values.mean()) if len(values) else math.nan
