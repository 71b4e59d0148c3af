"""Votes for ARC grids. Entry: `count_votes`, `merge`, `rank`.

Every prediction is cropped to its grid, its augmentation is undone, and it votes for that grid under the test input
that it answers. The prediction's own input, cropped and undone in the same way, identifies the test input.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from trm.puzzles.kinds.arc.augmentations import IDENTITY, Augmentation, parse_name
from trm.puzzles.kinds.arc.frames import crop, crop_shapes, to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, PAD, SEQ_LEN, TOKEN_OF_COLOR_0, VOCAB_SIZE, Frames, Grid
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.kinds.dihedral import TRANSFORMS, inverse


def grid_bytes(tokens: Frames, augmentations: Sequence[Augmentation]) -> list[bytes]:
    """Crop each frame to its grid, undo its augmentation and return the grid as bytes.

    The bytes are the tokens of a frame with the grid at the top left and padding elsewhere, up to the last token that
    is not 0. They are equal only for equal grids, and empty for a grid without cells.
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
"""By transform and cell of a full frame: the cell that undoing the transform moves there."""

_STEPS = (np.stack(np.divmod(_SOURCES[:, 0], ARC_SIDE), axis=1) > 0) * np.array([ARC_SIDE, 1])
"""By transform: offset of the sources for each row, and column, that a grid lacks; 0 if they begin at the first."""


def _undo_transforms(
    grids: Frames, shapes: Integer[np.ndarray, "batch 2"], augmentations: Sequence[Augmentation]
) -> Frames:
    """Undo the transforms of grids with these shapes, at the top left of otherwise empty frames."""
    transforms = np.array([augmentation.transform for augmentation in augmentations], dtype=np.int64)
    # A grid without cells may be moved anywhere.
    lacking = ARC_SIDE - np.maximum(shapes, 1)
    moved = (lacking * _STEPS[transforms]).sum(axis=1)
    # Negative indices wrap around: past one edge of the grid they read beyond the opposite one, which is padding.
    return np.take_along_axis(grids, _SOURCES[transforms] - moved[:, None], axis=1)


# Votes


Votes = dict[tuple[str, bytes], dict[bytes, list[float]]]
"""By task name and input (as `grid_bytes`), then by predicted grid, in the order first seen: sigmoid(q_halt) of each
vote."""


def count_votes(
    puzzle_identifiers: Integer[np.ndarray, " batch"],
    inputs: Frames,
    predictions: Frames,
    confidence: Float[np.ndarray, " batch"],
    names: Sequence[str],
    blank_identifier_id: int,
) -> Votes:
    """Count the votes of a batch, given the names of puzzle identifiers; padding sequences have no vote.

    A frame need not hold a whole grid. `merge` merges the votes of several batches, processes or checkpoints.
    """
    counts = puzzle_identifiers != blank_identifier_id
    fields = (puzzle_identifiers, inputs, predictions, confidence)
    identifiers, inputs, predictions, confidence = (np.asarray(field)[counts] for field in fields)
    parsed = [parse_name(names[int(identifier)]) for identifier in identifiers]
    augmentations = [augmentation for _, augmentation in parsed]
    questions, answers = (grid_bytes(frames, augmentations) for frames in (inputs, predictions))
    votes: Votes = {}
    for (task, _), question, answer, sure in zip(parsed, questions, answers, confidence.tolist(), strict=True):
        votes.setdefault((task, question), {}).setdefault(answer, []).append(sure)
    return votes


def merge(parts: Iterable[Votes]) -> Votes:
    """Merge votes; those of the first part count as seen first."""
    merged: Votes = {}
    for part in parts:
        for question, answers in part.items():
            together = merged.setdefault(question, {})
            for answer, confidences in answers.items():
                together.setdefault(answer, []).extend(confidences)
    return merged


class Candidate(NamedTuple):
    """A grid with votes."""

    data: bytes
    """The grid as `grid_bytes`."""
    votes: int
    confidence: float
    """Mean of sigmoid(q_halt) over its votes."""

    @property
    def grid(self) -> Grid:
        return grid_of(self.data)


class Ranking(NamedTuple):
    """Ranked candidates of a test input."""

    candidates: list[Candidate]
    """Best first; empty without a prediction for the test input."""
    truth_rank: int | None
    """Rank of the right grid, from 1; None if it has no vote."""
    known: bool = True
    """Whether the right grid is known."""


def rank(votes: Votes, tasks: Sequence[Task]) -> dict[str, list[Ranking]]:
    """Rank the candidates of each task's test inputs by votes, then by mean confidence, then in order first seen."""
    rankings = {}
    for task in tasks:
        tests = [pair for pair in task.pairs if pair.is_test]
        frames = np.stack([to_frame(grid) for pair in tests for grid in (pair.input, pair.output)])
        data = grid_bytes(frames, [IDENTITY] * len(frames))
        answers = [votes.get((task.name, question), {}) for question in data[::2]]
        rankings[task.name] = [
            _rank(of_test, truth if pair.known else None)
            for pair, of_test, truth in zip(tests, answers, data[1::2], strict=True)
        ]
    return rankings


def _rank(answers: Mapping[bytes, Sequence[float]], truth: bytes | None) -> Ranking:
    # Exactly rounded sums do not depend on the order of the votes.
    found = [Candidate(data, len(c), math.fsum(c) / len(c)) for data, c in answers.items()]
    candidates = sorted(found, key=lambda candidate: (-candidate.votes, -candidate.confidence))
    places = (place for place, candidate in enumerate(candidates, start=1) if candidate.data == truth)
    return Ranking(candidates, next(places, None), truth is not None)
