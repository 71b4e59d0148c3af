"""The solver of ARC tasks that a model was trained on: ranked answers to each test input. Entry: `solve_tasks`.

A task and each of its augmentations have a puzzle embedding. With each of these the model answers the augmented test
input. The augmentation of each answer is undone, and the votes for each grid are counted.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights
from trm.puzzles.kinds.arc.augmentations import SEPARATOR, parse_name
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.kinds.arc.votes import Candidate, count_votes, rank
from trm.solving.options import SolverOptions
from trm.solving.reason import confidence
from trm.solving.solve import solve


class SolvedTest(NamedTuple):
    """The answers to one test input of a task."""

    task: str
    test: int
    """Number of the test input in the task, from 0."""
    candidates: list[Candidate]
    """Best first."""
    steps: int
    """Supervision steps of all views and rollouts."""

    @property
    def votes(self) -> int:
        """Votes for all candidates."""
        return sum(candidate.votes for candidate in self.candidates)


def solve_tasks(
    weights: Weights,
    config: Config,
    mesh: Mesh,
    tasks: Sequence[Task],
    names: Sequence[str],
    options: SolverOptions,
    slots: int,
    views: int | None = None,
) -> list[SolvedTest]:
    """Answer every test input of some tasks, through the first `views` augmentations of each task, or all.

    `names` are those of the puzzle identifiers in training. Raises InputError for a task without a name among them, for
    more views than a task has augmentations, and as `trm.solving.solve.solve_candidates` does.
    """
    identifiers: list[int] = []
    frames: list[np.ndarray] = []
    sizes: list[int] = []
    for task, seen in zip(tasks, identifiers_of(tasks, names, views), strict=True):
        augmentations = [parse_name(names[identifier])[1] for identifier in seen]
        for pair in (pair for pair in task.pairs if pair.is_test):
            identifiers += seen
            frames += [to_frame(augmentation.apply(pair.input)) for augmentation in augmentations]
            sizes.append(len(augmentations))
    inputs, of_inputs = np.stack(frames).astype(np.int32), np.array(identifiers, np.int32)
    solutions = solve(weights, config, mesh, inputs, of_inputs, options, slots)
    # No identifier is blank: there is no padding here.
    confidences = confidence(solutions.q_halt_logits)
    votes = count_votes(of_inputs, inputs, solutions.answers, confidences, names, blank_identifier_id=-1)
    # Each task by itself: several may have one name.
    ranked = [(task, *of_test) for task in tasks for of_test in enumerate(rank(votes, [task])[task.name])]
    steps = np.split(solutions.total_steps, np.cumsum(sizes)[:-1])
    return [
        SolvedTest(task.name, test, ranking.candidates, int(spent.sum()))
        for (task, test, ranking), spent in zip(ranked, steps, strict=True)
    ]


def identifiers_of(tasks: Sequence[Task], names: Sequence[str], views: int | None = None) -> list[list[int]]:
    """Return the identifiers of the first `views` augmentations of each task, or of all, by their `names`.

    Raises InputError for a task without a name among them, and for more views than a task has augmentations.
    """
    known = identifiers_by_task(names)
    for task in tasks:
        seen = known.get(task.name, [])
        check_trained_on(task.name, seen)
        if views is not None and views > len(seen):
            raise InputError(
                f"views: found {views}, expected at most {len(seen)}, the augmentations of task {task.name}"
            )
    return [known[task.name][:views] for task in tasks]


def identifiers_by_task(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the identifiers of each task and of its augmentations, by the name of the task."""
    known: dict[str, list[int]] = defaultdict(list)
    for identifier, name in enumerate(names):
        known[name.split(SEPARATOR)[0]].append(identifier)
    return dict(known)


def check_trained_on(task: str, identifiers: Sequence[int]) -> None:
    """Raise InputError for a task without identifiers: the model has no puzzle embedding of it."""
    if not identifiers:
        raise InputError(
            f"task {task}: found no puzzle embedding, expected a task that the model was trained on: "
            f"build a puzzle set with the task and fine-tune (configuration arc_finetune_embeddings)"
        )
