"""Reports: intervals by their definition, difficulty and calibration by hand."""

import dataclasses
import math

import numpy as np
import pytest

from trm.evaluation.report import Z_95, Accuracy, Predictions, Scores, make_report, score, wilson_interval
from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.maze import rules as maze_rules
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.metadata import IGNORED_LABEL


@pytest.mark.parametrize(("right", "count"), [(0, 1), (0, 500), (1, 3), (7, 10), (490, 500), (500, 500)])
def test_interval_holds_the_shares_that_the_found_one_does_not_contradict(right: int, count: int):
    """Each end is a share from which the found one is 1.96 standard deviations away, if it is not 0 or 1."""
    share = right / count
    low, high = wilson_interval(share, count)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if end not in (0, 1):
            assert abs(share - end) == pytest.approx(Z_95 * math.sqrt(end * (1 - end) / count))
    assert low == 0 or right
    assert high == 1 or right < count


def test_interval_of_nothing():
    assert wilson_interval(float("nan"), 0) == (0, 1)


def judged(exact: list[int], confidence: list[float], labelled: list[int] | None = None) -> Scores:
    right = np.array(exact, bool)
    counts = np.ones(len(right), bool) if labelled is None else np.array(labelled, bool)
    return Scores(counts, np.where(right, 1.0, 0.5), right, np.array(confidence), {})


def stored(examples: int, ratings: list[int] | None = None, groups: list[int] | None = None) -> PuzzleArrays:
    tokens = np.zeros((examples, 4), np.uint8)
    bounds = np.arange(examples + 1)
    return PuzzleArrays(
        tokens,
        tokens,
        np.zeros(examples, int),
        bounds,
        bounds if groups is None else np.array(groups),
        ratings=None if ratings is None else np.array(ratings),
    )


def test_accuracy_by_difficulty():
    """Seven puzzles in two batches, the last of which is filled up; the fourth has no label."""
    parts = [judged([1, 1, 1, 0], [0.9] * 4, [1, 1, 1, 0]), judged([0, 1, 0, 1], [0.9] * 4, [1, 1, 1, 0])]
    report = make_report(parts, stored(7, [0, 0, 1, 1, 2, 3, 9]), [], {})
    assert report.examples == 6
    assert [(row.lowest, row.highest) for row in report.by_difficulty] == [(0, 0), (1, 1), (2, 3), (8, 15)]
    assert [(row.accuracy.puzzles, row.accuracy.exact) for row in report.by_difficulty] == [
        (2, 1),
        (1, 1),
        (2, 0.5),
        (1, 0),
    ]
    assert report.by_difficulty[2].accuracy == Accuracy.of(2, 0.75, 0.5)
    assert report.metrics["exact_accuracy"] == pytest.approx(4 / 6)
    assert report.metrics["accuracy"] == pytest.approx(5 / 6)
    assert report.intervals["exact_accuracy"] == wilson_interval(4 / 6, 6)
    assert make_report(parts, stored(7), [], {}).by_difficulty == []


def test_ratings_are_those_of_the_original_puzzle():
    """Two originals with one and two augmentations, whose second puzzle has three examples."""
    arrays = dataclasses.replace(stored(7, [5, 8], [0, 2, 5]), puzzle_indices=np.array([0, 1, 4, 5, 6, 7]))
    ratings = arrays.example_ratings()
    assert ratings is not None
    assert ratings.tolist() == [5] * 4 + [8] * 3


def test_calibration():
    """A network that is 0.75 sure of four answers, three of them right, and wholly sure of one that is wrong."""
    report = make_report([judged([1, 1, 0, 1, 0], [0.75] * 4 + [1.0])], stored(5), [], {})
    rows = [(row.lowest, row.highest, row.mean, row.accuracy.exact) for row in report.by_confidence]
    assert rows == [(0.7, 0.8, 0.75, 0.75), (0.9, 1.0, 1.0, 0.0)]
    assert report.metrics["calibration_error"] == pytest.approx(1 / 5)
    # More than half sure of all, right of three.
    assert report.metrics["q_halt_accuracy"] == pytest.approx(3 / 5)
    assert set(report.intervals) == {"accuracy", "exact_accuracy", "q_halt_accuracy"}


def test_judging_mazes():
    """The label, another shortest path, none, and a sequence that fills the batch up."""
    question = maze_text.parse_maze("S    " + " " * 15 + "    G", "x")
    draws = maze_rules.shortest_path(np.repeat(question[None], 50, axis=0), np.random.default_rng(0))
    paths = {tuple(path.ravel().tolist()) for path in draws}
    label, another = (np.array(path) for path in sorted(paths)[:2])
    inputs = np.stack([question.ravel()] * 3 + [np.zeros(25, question.dtype)]).astype(int)
    labels = np.stack([label, label, label, np.full(25, IGNORED_LABEL)]).astype(int)
    predictions = np.stack([label, another, question.ravel(), label]).astype(int)
    logits = np.array([0.0, 1000.0, -1000.0, 0.0], np.float32)
    found = score(Predictions(np.zeros(4, int), inputs, predictions, logits), labels, KINDS["maze"])
    assert found.labelled.tolist() == [True, True, True, False]
    assert found.exact.tolist()[:3] == [True, False, False]
    assert found.of_kind["shortest_path_accuracy"].tolist() == [True, True, False, False]
    assert found.confidence.tolist() == [0.5, 1.0, 0.0, 0.5]
    assert found.accuracy[1] == pytest.approx((another == label).mean())
    assert make_report([found], stored(4), [], {}).metrics["shortest_path_accuracy"] == pytest.approx(2 / 3)
