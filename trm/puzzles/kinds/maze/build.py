"""Building maze puzzle sets. Entry: `build_split`."""

from typing import Literal

import numpy as np
from jaxtyping import Integer

from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.kinds.maze.rules import MAZE_CHARACTERS, Boards, shortest_path
from trm.puzzles.kinds.tables import Table, describe_split, indices_of_single_examples
from trm.puzzles.metadata import Metadata

Labels = Literal["recompute", "rotate"]
"""Label of a rotated copy: the path that the rule chooses on it, or the given answer rotated with the maze."""


def build(table: Table, augment: bool, labels: Labels) -> PuzzleArrays:
    """Convert mazes to arrays; with `augment` a group is a maze in all its rotations and reflections, itself first."""
    count, n, _ = table.questions.shape
    copies = TRANSFORMS if augment else 1

    def augmented(boards: Boards) -> Integer[np.ndarray, "copies n n"]:
        return np.stack([transform(boards, t) for t in range(copies)], axis=1).reshape(count * copies, n, n)

    inputs = augmented(table.questions)
    answers = shortest_path(inputs) if labels == "recompute" else augmented(table.answers)
    return PuzzleArrays(
        inputs.reshape(-1, n * n),
        answers.reshape(-1, n * n),
        *indices_of_single_examples(count, copies),
        ratings=table.ratings,
    )


def build_split(name: str, table: Table, augment: bool = False, labels: Labels = "recompute") -> PuzzleSet:
    """Build one split from mazes."""
    groups, n, _ = table.questions.shape
    return PuzzleSet(name, metadata_of(groups, n), {"all": build(table, augment, labels)})


def metadata_of(groups: int, n: int) -> Metadata:
    """Describe a split of n x n mazes."""
    return describe_split("maze", groups, len(MAZE_CHARACTERS) + 1, n * n)
