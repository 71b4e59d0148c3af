"""Augmentations of ARC tasks and their names. Entry: `Augmentation`, `parse_name`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.kinds.arc.grids import ARC_COLORS, Grid
from trm.puzzles.kinds.dihedral import inverse, transform

SEPARATOR = "|||"


class Augmentation(NamedTuple):
    """New colours, then a rotation or reflection."""

    transform: int
    """Number of a dihedral transform."""
    colors: Integer[np.ndarray, " colors"]
    """New colour of each colour."""

    def apply(self, grid: Grid) -> Integer[np.ndarray, "new_rows new_columns"]:
        """Augment a grid."""
        return transform(self.colors[grid], self.transform)

    def undo(self, grid: Grid) -> Integer[np.ndarray, "new_rows new_columns"]:
        """Undo the augmentation on a grid."""
        return np.argsort(self.colors).astype(np.uint8)[inverse(grid, self.transform)]


IDENTITY = Augmentation(0, np.arange(ARC_COLORS, dtype=np.uint8))


def name_augmentation(task: str, augmentation: Augmentation) -> str:
    """Return the name of an augmented task: the task's name, the transform, the ten new colours."""
    digits = "".join(map(str, augmentation.colors.tolist()))
    return f"{task}{SEPARATOR}t{augmentation.transform}{SEPARATOR}{digits}"


def parse_name(name: str) -> tuple[str, Augmentation]:
    """Return the task and the augmentation that a name denotes; a task's own name denotes the identity.

    Raises InputError for a malformed augmentation.
    """
    task, *rest = name.split(SEPARATOR)
    if not rest:
        return task, IDENTITY
    said = re.fullmatch(r"t([0-7])", rest[-2]) if len(rest) > 1 else None
    if said is None or sorted(rest[-1]) != sorted("0123456789"):
        expected = SEPARATOR.join(["TASK", "t0 to t7", "the ten new colours"])
        raise InputError(f"puzzle identifier: found {name!r}, expected {expected}")
    return task, Augmentation(int(said[1]), np.array(list(rest[-1])).astype(np.uint8))


class Augmentations(NamedTuple):
    """The augmentations that make the puzzles of a group from the task. The first is the identity."""

    transforms: Integer[np.ndarray, " puzzles"]
    colors: Integer[np.ndarray, "puzzles 10"]

    def names(self, task: str) -> Iterator[str]:
        """Yield the puzzles' names."""
        yield task
        for t, colors in zip(self.transforms[1:].tolist(), self.colors[1:], strict=True):
            yield name_augmentation(task, Augmentation(t, colors))
