"""Traces of ARC tasks: attempts at each test input through augmentations of its task.

Entry: `trace_tasks`; `stream_test` yields each step as it is computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from trm.parallel.environment import settled
from trm.puzzles.kinds.arc.augmentations import SEPARATOR, Augmentation, parse_name
from trm.puzzles.kinds.arc.frames import crop, to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, END, PAD, Grid
from trm.puzzles.kinds.arc.tasks import Pair, Task
from trm.puzzles.kinds.dihedral import inverse
from trm.puzzles.kinds.kind import PuzzleKind
from trm.solving.arc import identifiers_of
from trm.solving.attempt_traces import AttemptTrace, PuzzleTrace, judge_attempt
from trm.solving.trace import Trace, trace, trace_by_step
from trm.solving.trained_model import TrainedModel


@settled()
def trace_tasks(
    model: TrainedModel, tasks: Sequence[Task], names: Sequence[str], views: int = 1, steps: int | None = None
) -> tuple[list[PuzzleTrace], list[str]]:
    """Trace the test inputs of tasks through the first `views` augmentations; return traces and titles.

    Each answer is cropped to its grid and placed at the top left, without end markers. `names` are those of the puzzle
    identifiers in training. Raises InputError as `trm.solving.arc.identifiers_of` does.
    """
    found, titles = [], []
    for task, identifiers in zip(tasks, identifiers_of(tasks, names, views), strict=True):
        tests = [pair for pair in task.pairs if pair.is_test]
        for number, pair in enumerate(tests, start=1):
            augmented = _augment(pair, identifiers, names)
            traced = trace(model.weights, model.config, augmented.inputs, augmented.identifiers, steps)
            found.append(PuzzleTrace(augmented.question, augmented.truth, tuple(_judge(model.kind, augmented, traced))))
            titles.append(f"{task.name}: test input {number} of {len(tests)}")
    return found, titles


def stream_test(
    model: TrainedModel, test: Pair, identifiers: Sequence[int], names: Sequence[str], steps: int
) -> Iterator[list[AttemptTrace]]:
    """Yield the attempts at a test input after each supervision step: traces of only that step.

    Each attempt uses the augmentation of one identifier of the task. `names` are those of all puzzle identifiers.
    """
    augmented = _augment(test, identifiers, names)
    latents = model.weights.model.initial_latents(augmented.inputs.shape)
    for found in trace_by_step(model.weights, model.config, augmented.inputs, augmented.identifiers, steps, latents):
        yield _judge(model.kind, augmented, found)


class _AugmentedTest(NamedTuple):
    """A test input under several augmentations of its task."""

    question: Integer[np.ndarray, " 900"]
    truth: Integer[np.ndarray, " 900"] | None
    inputs: Integer[np.ndarray, "batch 900"]
    identifiers: Integer[np.ndarray, " batch"]
    augmentations: list[Augmentation]
    ways: list[str]
    """Label of each attempt."""


def _augment(test: Pair, identifiers: Sequence[int], names: Sequence[str]) -> _AugmentedTest:
    augmentations = [parse_name(names[identifier])[1] for identifier in identifiers]
    inputs = np.stack([to_frame(augmentation.apply(test.input)) for augmentation in augmentations])
    return _AugmentedTest(
        _place(test.input),
        _place(test.output) if test.known else None,
        inputs.astype(np.int32),
        np.array(identifiers, np.int32),
        augmentations,
        ["as it is" if SEPARATOR not in names[identifier] else "augmentation" for identifier in identifiers],
    )


def _judge(kind: PuzzleKind, augmented: _AugmentedTest, found: Trace) -> list[AttemptTrace]:
    undone = _undo(found, augmented.augmentations)
    attempts = (judge_attempt(kind, augmented.question, augmented.truth, undone, i) for i in range(len(augmented.ways)))
    return [replace(attempt, way=way) for attempt, way in zip(attempts, augmented.ways, strict=True)]


def _place(grid: Grid) -> Integer[np.ndarray, " 900"]:
    """Return the frame of a grid without end markers."""
    frame = to_frame(grid).astype(np.int32)
    return np.where(frame == END, PAD, frame)


def _undo(found: Trace, augmentations: Sequence[Augmentation]) -> Trace:
    """Return a trace with the augmentation of each answer undone."""
    predictions, confidence = np.empty_like(found.predictions), np.empty_like(found.confidence)
    for place in np.ndindex(predictions.shape[:-1]):
        augmentation = augmentations[place[-1]]
        grid = crop(found.predictions[place])
        predictions[place] = _place(augmentation.undo(grid)) if grid.size else PAD
        confidence[place] = _move(found.confidence[place], grid.shape, augmentation)
    return found._replace(predictions=predictions, confidence=confidence)


def _move(
    values: Float[np.ndarray, " 900"], shape: tuple[int, ...], augmentation: Augmentation
) -> Float[np.ndarray, " 900"]:
    """Move the values of a grid's cells as undoing the augmentation moves the cells; 0 elsewhere."""
    part = inverse(values.reshape(ARC_SIDE, ARC_SIDE)[: shape[0], : shape[1]], augmentation.transform)
    moved = np.zeros((ARC_SIDE, ARC_SIDE), values.dtype)
    moved[: part.shape[0], : part.shape[1]] = part
    return moved.ravel()
