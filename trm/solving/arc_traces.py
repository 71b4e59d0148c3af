"""Traces of ARC tasks: attempts at each test input through augmentations of its task. Entry: `trace_tasks`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Integer

from trm.parallel.environment import settled
from trm.puzzles.kinds.arc.augmentations import SEPARATOR, Augmentation, parse_name
from trm.puzzles.kinds.arc.frames import crop, to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, END, PAD, Grid
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.kinds.dihedral import inverse
from trm.solving.arc import identifiers_of
from trm.solving.attempt_traces import PuzzleTrace, judge_attempt
from trm.solving.trace import Trace, trace
from trm.solving.trained_model import TrainedModel


@settled()
def trace_tasks(
    model: TrainedModel, tasks: Sequence[Task], names: Sequence[str], views: int = 1, steps: int | None = None
) -> tuple[list[PuzzleTrace], list[str]]:
    """Trace the test inputs of tasks through the first `views` augmentations; return them with their titles.

    Of each answer there is what its grid is cropped to, at the top left and without end markers. `names` are those of
    the puzzle identifiers in training. Raises InputError as `trm.solving.arc.identifiers_of` does.
    """
    found, titles = [], []
    for task, identifiers in zip(tasks, identifiers_of(tasks, names, views), strict=True):
        augmentations = [parse_name(names[identifier])[1] for identifier in identifiers]
        tests = [pair for pair in task.pairs if pair.is_test]
        for number, pair in enumerate(tests, start=1):
            seen = np.stack([to_frame(augmentation.apply(pair.input)) for augmentation in augmentations])
            rows = np.array(identifiers, np.int32)
            undone = _undo(trace(model.weights, model.config, seen.astype(np.int32), rows, steps), augmentations)
            question, truth = _place(pair.input), _place(pair.output) if pair.known else None
            attempts = (judge_attempt(model.kind, question, truth, undone, i) for i in range(len(augmentations)))
            ways = ["as it is" if SEPARATOR not in names[row] else "augmentation" for row in identifiers]
            judged = tuple(replace(a, way=way) for a, way in zip(attempts, ways, strict=True))
            found.append(PuzzleTrace(question, truth, judged))
            titles.append(f"{task.name}: test input {number} of {len(tests)}")
    return found, titles


def _place(grid: Grid) -> Integer[np.ndarray, " 900"]:
    """Return the frame of a grid without end markers."""
    frame = to_frame(grid).astype(np.int32)
    return np.where(frame == END, PAD, frame)


def _undo(found: Trace, augmentations: Sequence[Augmentation]) -> Trace:
    """Return a trace whose answers, one to each augmentation, are those to the task itself."""
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
    """Move what belongs to the cells of a grid as undoing an augmentation moves the cells; 0 elsewhere."""
    part = inverse(values.reshape(ARC_SIDE, ARC_SIDE)[: shape[0], : shape[1]], augmentation.transform)
    moved = np.zeros((ARC_SIDE, ARC_SIDE), values.dtype)
    moved[: part.shape[0], : part.shape[1]] = part
    return moved.ravel()
