"""Voting on ARC: what enters are predicted frames of augmented tasks, what leaves are votes for grids, ranked
candidates, pass@K and a submission to Kaggle.

Every prediction is cropped to its grid, its augmentation is undone, and it votes for that grid under the test input
that it answers. Which one that is, its own input says: cropped and undone too, it is the test input of a task.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.evaluation.report import Answered
from trm.puzzles.kinds.arc.grids import (
    IDENTITY,
    PAD,
    SEQ_LEN,
    TEST_PUZZLES,
    TOKEN_OF_COLOR_0,
    VOCAB_SIZE,
    Augmentation,
    Frames,
    Grid,
    Task,
    crop,
    crop_shapes,
    parse_name,
    read_test_puzzles,
    to_frame,
)
from trm.puzzles.kinds.dihedral import TRANSFORMS, inverse
from trm.puzzles.metadata import ARC_SIDE, PuzzleSet, read_shared_identifiers
from trm.solving.reason import confidence

PASS_KS = (1, 2, 5, 10, 100, 1000)
ATTEMPTS = 2
"""Answers that a submission gives to each test input."""


# Grids as bytes


def grid_bytes(tokens: Frames, augmentations: Sequence[Augmentation]) -> list[bytes]:
    """Crop each frame to its grid, undo its augmentation and return the grid as bytes.

    They are the tokens of a frame with the grid at the top left and nothing beside it, up to the last that is not 0:
    equal for equal grids alone, and none for a grid without cells.
    """
    shapes = crop_shapes(tokens)
    places = np.arange(ARC_SIDE)
    in_rows, in_columns = (places < shapes[:, [axis]] for axis in (0, 1))
    inside = (in_rows[:, :, None] & in_columns[:, None, :]).reshape(tokens.shape)
    grids = _undo_colors(np.where(inside, tokens, PAD), augmentations)
    undone = _undo_transforms(grids, shapes, augmentations)
    # Numpy drops zeros at the end of strings.
    return undone.view(f"S{SEQ_LEN}").ravel().tolist()


def grid_of(data: bytes) -> Grid:
    """Return the grid of `grid_bytes`."""
    return crop(np.frombuffer(data.ljust(SEQ_LEN, b"\0"), dtype=np.uint8))


def _undo_colors(grids: Frames, augmentations: Sequence[Augmentation]) -> Frames:
    # One table for each frame: the token that each token was.
    tables = np.full((len(grids), VOCAB_SIZE), PAD, dtype=np.uint8)
    if len(grids):
        colors = np.stack([augmentation.colors for augmentation in augmentations])
        tables[:, TOKEN_OF_COLOR_0:] = TOKEN_OF_COLOR_0 + np.argsort(colors, axis=1)
    return np.take_along_axis(tables, grids, axis=1)


_SOURCES = np.stack([inverse(np.arange(SEQ_LEN).reshape(ARC_SIDE, ARC_SIDE), t).ravel() for t in range(TRANSFORMS)])
"""Of each transform and each cell of a full frame: the cell that undoing the transform moves there."""

_STEPS = (np.stack(np.divmod(_SOURCES[:, 0], ARC_SIDE), axis=1) > 0) * np.array([ARC_SIDE, 1])
"""Of each transform: how far sources move for each row, and column, that a grid lacks; 0 if they begin at the first."""


def _undo_transforms(
    grids: Frames, shapes: Integer[np.ndarray, "batch 2"], augmentations: Sequence[Augmentation]
) -> Frames:
    """Undo the transforms of grids of some shapes at the top left of frames that hold nothing else."""
    transforms = np.array([augmentation.transform for augmentation in augmentations], dtype=np.int64)
    # It does not matter where a grid without cells is moved.
    lacking = ARC_SIDE - np.maximum(shapes, 1)
    moved = (lacking * _STEPS[transforms]).sum(axis=1)
    # Negative indices wrap round: past an edge of the grid they find what is beyond the other, which is nothing.
    return np.take_along_axis(grids, _SOURCES[transforms] - moved[:, None], axis=1)


# Votes


Votes = dict[tuple[str, bytes], dict[bytes, list[float]]]
"""Of each task's name with an input (as `grid_bytes`), of each grid predicted for it, in the order in which they were
first seen: sigmoid(q_halt) of each vote."""


def count_votes(batch: Answered, names: Sequence[str], blank_identifier_id: int) -> Votes:
    """Count the votes of a batch, given the names of puzzle identifiers; sequences that fill it up have none.

    Frames may hold anything. The votes of several batches, processes or checkpoints are merged by `merge`.
    """
    counts = np.asarray(batch.puzzle_identifiers) != blank_identifier_id
    identifiers, inputs, predictions, logits = (np.asarray(field)[counts] for field in batch)
    parsed = [parse_name(names[int(identifier)]) for identifier in identifiers]
    augmentations = [augmentation for _, augmentation in parsed]
    questions, answers = (grid_bytes(frames, augmentations) for frames in (inputs, predictions))
    votes: Votes = {}
    for (task, _), question, answer, sure in zip(parsed, questions, answers, confidence(logits).tolist(), strict=True):
        votes.setdefault((task, question), {}).setdefault(answer, []).append(sure)
    return votes


def merge(parts: Iterable[Votes]) -> Votes:
    """Put votes together; those of the first part count as seen first."""
    merged: Votes = {}
    for part in parts:
        for question, answers in part.items():
            together = merged.setdefault(question, {})
            for answer, confidences in answers.items():
                together.setdefault(answer, []).extend(confidences)
    return merged


class Voter:
    """Collects the votes of an evaluation, or of several: one for each batch that `see` is shown."""

    def __init__(self, names: Sequence[str], tasks: Sequence[Task], blank_identifier_id: int):
        self._names, self._tasks = names, tasks
        self._blank_identifier_id = blank_identifier_id
        self._parts: list[Votes] = []

    def see(self, batch: Answered) -> None:
        """Count the votes of a batch."""
        self._parts.append(count_votes(batch, self._names, self._blank_identifier_id))

    def rankings(self, others: Sequence["Voter"] = ()) -> dict[str, list["Ranking"]]:
        """Rank the candidates for each test input of each task by all votes so far, those of others included.

        Raises InputError when they are not of the same tasks.
        """
        for other in others:
            if {task.name for task in other._tasks} != {task.name for task in self._tasks}:
                raise InputError("found puzzle sets of different tasks, expected the same, to count votes together")
        return rank(merge([part for voter in (self, *others) for part in voter._parts]), self._tasks)


def voter_for(puzzles: PuzzleSet, directories: Sequence[str | Path]) -> Voter | None:
    """Return a voter for puzzle sets that know the tasks they were made of; None for others.

    Raises InputError, naming the file, when a puzzle set does not say what its identifiers and its tasks are.
    """
    if not knows_tasks(puzzles, directories):
        return None
    names, expected = read_shared_identifiers(directories), puzzles.metadata.num_puzzle_identifiers
    if len(names) < expected:
        raise InputError(f"{puzzles.name}: identifiers.json: found {len(names)} names, expected {expected}")
    tasks = [task for directory in directories for task in read_test_puzzles(directory)]
    return Voter(names, tasks, puzzles.metadata.blank_identifier_id)


def knows_tasks(puzzles: PuzzleSet, directories: Sequence[str | Path]) -> bool:
    """Say whether puzzle sets are of ARC and hold the tasks that they were made of."""
    return puzzles.metadata.puzzle_kind == "arc" and all(
        (Path(directory) / TEST_PUZZLES).is_file() for directory in directories
    )


# Results


class Candidate(NamedTuple):
    """A grid that was voted for."""

    data: bytes
    """The grid as `grid_bytes`."""
    votes: int
    confidence: float
    """Mean of sigmoid(q_halt) over its votes."""

    @property
    def grid(self) -> Grid:
        return grid_of(self.data)


class Ranking(NamedTuple):
    """How a test input was answered."""

    candidates: list[Candidate]
    """The best first; none if nothing was predicted for it."""
    truth_rank: int | None
    """Place of the right grid among them, from 1; None if there was no vote for it."""


def rank(votes: Votes, tasks: Sequence[Task]) -> dict[str, list[Ranking]]:
    """Rank the candidates of each task's test inputs by votes, then by mean confidence, then in order first seen."""
    rankings = {}
    for task in tasks:
        tests = [(pair.input, pair.output) for pair in task.pairs if pair.is_test]
        frames = np.stack([to_frame(grid) for test in tests for grid in test])
        data = grid_bytes(frames, [IDENTITY] * len(frames))
        answers = [votes.get((task.name, question), {}) for question in data[::2]]
        rankings[task.name] = [_rank(of_test, truth) for of_test, truth in zip(answers, data[1::2], strict=True)]
    return rankings


def _rank(answers: Mapping[bytes, Sequence[float]], truth: bytes) -> Ranking:
    # Exactly rounded sums do not depend on the order of the votes.
    found = [Candidate(data, len(c), math.fsum(c) / len(c)) for data, c in answers.items()]
    candidates = sorted(found, key=lambda candidate: (-candidate.votes, -candidate.confidence))
    places = (place for place, candidate in enumerate(candidates, start=1) if candidate.data == truth)
    return Ranking(candidates, next(places, None))


def pass_at(rankings: Mapping[str, Sequence[Ranking]], ks: Sequence[int] = PASS_KS) -> dict[str, float]:
    """Return pass@K for each K: the share of a task's test inputs whose truth is among the first K, mean over tasks."""

    def share(tests: Sequence[Ranking], k: int) -> float:
        return sum(test.truth_rank is not None and test.truth_rank <= k for test in tests) / len(tests)

    return {f"pass@{k}": math.fsum(share(tests, k) for tests in rankings.values()) / len(rankings) for k in ks}


def submission(
    rankings: Mapping[str, Sequence[Ranking]], attempts: int = ATTEMPTS
) -> dict[str, list[dict[str, list[list[int]]]]]:
    """Return Kaggle's JSON: for each task and test input `attempt_1`, `attempt_2` and so on, the best candidates.

    With too few of them the best is given again; a test input without any keeps its place, with the grid [[0]], which
    also stands for a grid without cells: what Kaggle reads is no empty list.
    """

    def attempt(ranking: Ranking) -> dict[str, list[list[int]]]:
        grids = [candidate.grid.tolist() or [[0]] for candidate in ranking.candidates[:attempts]] or [[[0]]]
        grids += grids[:1] * (attempts - len(grids))
        return {f"attempt_{number}": grid for number, grid in enumerate(grids, start=1)}

    return {name: [attempt(ranking) for ranking in tests] for name, tests in rankings.items()}


def describe_rankings(rankings: Mapping[str, Sequence[Ranking]], most: int = ATTEMPTS) -> dict[str, list[dict]]:
    """Say of each task's test inputs at which place the truth came, and what the best candidates had, for a report."""
    return {
        name: [
            {
                "truth_rank": test.truth_rank,
                "candidates": len(test.candidates),
                "best": [{"votes": best.votes, "confidence": best.confidence} for best in test.candidates[:most]],
            }
            for test in tests
        ]
        for name, tests in rankings.items()
    }
