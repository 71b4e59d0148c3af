"""Reports: what enters are answers to the puzzles of a set, what leaves is how many are right, and how sure that is.

Beside every accuracy stands its Wilson 95 % interval: where the accuracy on all puzzles of the kind lies, as far as
chance alone decides which of them the set holds. It says nothing of what another training run would give.
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
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


def wilson_interval(share: float, count: int) -> Interval:
    """Return the 95 % interval of a share of so many puzzles (E. B. Wilson, JASA 22, 1927).

    For a mean of shares, such as token accuracy, it is wide enough: no values between 0 and 1 vary more than 0 and 1.
    """
    if not count:
        return 0.0, 1.0
    z = Z_95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    # Rounding must not put the end of an interval beyond the share itself.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


# Answers


class Answered(NamedTuple):
    """Puzzles and what was answered, on the host. Sequences that fill a batch up have the blank identifier."""

    puzzle_identifiers: Integer[np.ndarray, " batch"]
    inputs: Integer[np.ndarray, "batch seq_len"]
    predictions: Integer[np.ndarray, "batch seq_len"]
    q_halt_logits: Float[np.ndarray, " batch"]


class Judged(NamedTuple):
    """How right each answer is."""

    labelled: Bool[np.ndarray, " batch"]
    """Whether there is a label to compare it with; the others do not count."""
    accuracy: Float[np.ndarray, " batch"]
    """Share of the labelled tokens that are right."""
    exact: Bool[np.ndarray, " batch"]
    """Whether all of them are."""
    confidence: Float[np.ndarray, " batch"]
    """sigmoid(q_halt)."""
    scores: dict[str, Num[np.ndarray, " batch"]]
    """Scores of the puzzle kind (`PuzzleKind.metrics`); 0 where there is no label."""


def judge(answered: Answered, labels: Integer[np.ndarray, "batch seq_len"], kind: PuzzleKind) -> Judged:
    """Compare answers with labels."""
    valid = labels != IGNORED_LABEL
    right = (valid & (answered.predictions == labels)).sum(axis=1)
    labels_per_puzzle = valid.sum(axis=1)
    labelled = labels_per_puzzle > 0
    # What fills up a batch is no puzzle: a kind need not know what to say of it.
    found = kind.metrics(answered.inputs[labelled], answered.predictions[labelled])
    scores = {name: np.zeros(len(labels), values.dtype) for name, values in found.items()}
    for name, values in found.items():
        scores[name][labelled] = values
    return Judged(
        labelled,
        right / np.maximum(labels_per_puzzle, 1),
        right == labels_per_puzzle,
        confidence(answered.q_halt_logits),
        scores,
    )


# Reports


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How many of some puzzles are answered right."""

    puzzles: int
    token: float
    """Mean over puzzles of the share of right tokens."""
    exact: float
    exact_interval: Interval

    @staticmethod
    def of(puzzles: int, token: float, exact: float) -> "Accuracy":
        return Accuracy(puzzles, token, exact, wilson_interval(exact, puzzles))


@dataclasses.dataclass(frozen=True)
class AtCompute:
    """Accuracy for some compute."""

    steps: float
    """Supervision steps per puzzle, all its candidates together, mean over puzzles."""
    candidates: int
    """Answers to each puzzle, of which one was chosen."""
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class AtDifficulty:
    """Accuracy on puzzles that are about equally difficult."""

    lowest: int
    """Rating, as in the source of the puzzles."""
    highest: int
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class AtConfidence:
    """Accuracy of answers that the network was about equally sure of."""

    lowest: float
    """sigmoid(q_halt)."""
    highest: float
    mean: float
    """Of the answers themselves: what the accuracy would be if the network knew itself."""
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class Report:
    """Accuracy of one set of puzzles."""

    examples: int
    """Puzzles that counted: those with at least one label."""
    metrics: dict[str, float]
    """Of the answers that count: accuracy (of tokens), exact_accuracy, q_halt_accuracy (whether the network was more
    than half sure of an answer just when it was right), calibration_error, steps, what the puzzle kind scores; and
    what an evaluation adds."""
    intervals: dict[str, Interval]
    """Of every accuracy among them."""
    by_compute: list[AtCompute]
    by_difficulty: list[AtDifficulty]
    """Nothing where the set has no ratings."""
    by_confidence: list[AtConfidence]


def make_report(
    judged: Sequence[Judged],
    arrays: PuzzleArrays,
    by_compute: list[AtCompute],
    more: dict[str, float],
) -> Report:
    """Summarise how the examples of a set were answered, in order; what fills up batches comes after them.

    `more` are metrics that an evaluation adds, or knows better.
    """
    labelled, accuracy, exact, sure = (
        np.concatenate(column)[: arrays.examples] for column in list(zip(*judged, strict=True))[:4]
    )
    ratings = arrays.example_ratings()
    by_confidence = _by_confidence(sure[labelled], accuracy[labelled], exact[labelled])
    count = int(labelled.sum())
    shares = {
        "accuracy": accuracy,
        "exact_accuracy": exact,
        "q_halt_accuracy": (sure >= 0.5) == exact,
    }
    for name in judged[0].scores:
        shares[name] = np.concatenate([part.scores[name] for part in judged])[: arrays.examples]
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
) -> list[AtDifficulty]:
    """Divide puzzles at powers of two: 0, 1, 2 to 3, 4 to 7 and so on."""
    rows = []
    bits = np.frexp(np.maximum(ratings, 0).astype(np.float64))[1]
    for group in np.unique(bits).tolist():
        of_group = bits == group
        lowest, highest = (2 ** (group - 1), 2**group - 1) if group else (0, 0)
        rows.append(AtDifficulty(lowest, highest, _accuracy(accuracy[of_group], exact[of_group])))
    return rows


_CONFIDENCE_BINS = 10


def _by_confidence(
    confidence: Float[np.ndarray, " puzzles"],
    accuracy: Float[np.ndarray, " puzzles"],
    exact: Bool[np.ndarray, " puzzles"],
) -> list[AtConfidence]:
    """Divide answers into tenths of sigmoid(q_halt); tenths without any are left out (arXiv 1706.04599)."""
    rows = []
    places = np.minimum((confidence * _CONFIDENCE_BINS).astype(int), _CONFIDENCE_BINS - 1)
    for place in np.unique(places).tolist():
        of_bin = places == place
        lowest, highest = place / _CONFIDENCE_BINS, (place + 1) / _CONFIDENCE_BINS
        mean = float(confidence[of_bin].mean())
        rows.append(AtConfidence(lowest, highest, mean, _accuracy(accuracy[of_bin], exact[of_bin])))
    return rows


def accuracy_of(judged: Sequence[Judged]) -> Accuracy:
    """Return the accuracy on all puzzles of some parts."""
    labelled, accuracy, exact = (np.concatenate(column) for column in list(zip(*judged, strict=True))[:3])
    return _accuracy(accuracy[labelled], exact[labelled])


def _accuracy(accuracy: Float[np.ndarray, " puzzles"], exact: Bool[np.ndarray, " puzzles"]) -> Accuracy:
    return Accuracy.of(len(exact), _mean(accuracy), _mean(exact))


def _mean(values: Num[np.ndarray, " puzzles"] | Bool[np.ndarray, " puzzles"]) -> float:
    """Return the mean; NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan
