"""Choosing the augmentations of ARC tasks. Entry: `choose_augmentations`."""

from functools import cache

import numpy as np
from jaxtyping import Integer, UInt64

from trm.puzzles.kinds.arc.augmentations import IDENTITY, Augmentations
from trm.puzzles.kinds.arc.draws import DrawAugmentations
from trm.puzzles.kinds.arc.grids import ARC_COLORS, ARC_SIDE, SEQ_LEN, Grid
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform

TRIES_PER_AUGMENTATION = 5
"""Draws for each wanted augmentation; a task with few different ones gets fewer."""


def choose_augmentations(task: Task, num_aug: int, draw: DrawAugmentations) -> Augmentations:
    """Choose up to `num_aug` augmentations whose pairs differ from the task's own and from each other's."""
    chosen = Augmentations(np.zeros(1, np.uint8), IDENTITY.colors[None])
    sign = Signatures(task)
    signatures = sign(chosen)
    tries = TRIES_PER_AUGMENTATION * num_aug
    while tries and (missing := num_aug + 1 - len(signatures)):
        drawn = draw(min(missing, tries))
        tries -= len(drawn.transforms)
        both = Augmentations(*(np.concatenate(fields) for fields in zip(chosen, drawn, strict=True)))
        # The first of equal ones stays, in the order in which they were drawn.
        kept = np.sort(np.unique(np.concatenate([signatures, sign(drawn)]), return_index=True)[1])
        chosen = Augmentations(*(field[kept] for field in both))
        signatures = sign(chosen)
    return chosen


class Signatures:
    """Computes signatures of 64 bits that tell augmentations of a task apart, without augmenting a grid.

    Two signatures are equal when the augmentations make the same pairs, in any order. The signature of a grid is the
    sum of random numbers, one for each place and colour. The sum over the cells of one colour is computed once for each
    new colour and each transform.
    """

    def __init__(self, task: Task):
        grids = [(pair.input, pair.output) for pair in task.pairs]
        self._sums = np.array([[_sum_by_color(grid) for grid in pair] for pair in grids])

    def __call__(self, augmentations: Augmentations) -> UInt64[np.ndarray, " puzzles"]:
        transforms = augmentations.transforms[:, None]
        signatures = np.zeros(len(transforms), dtype=np.uint64)
        for sums in self._sums:
            first, second = (s[transforms, np.arange(ARC_COLORS), augmentations.colors].sum(axis=1) for s in sums)
            signatures += _scramble(_scramble(first) + second)
        return signatures


def _sum_by_color(grid: Grid) -> UInt64[np.ndarray, "transforms colors new_colors"]:
    """Add up the random numbers of the cells of each colour, after each transform, for each new colour."""
    cells = (grid.ravel() == np.arange(ARC_COLORS)[:, None]).astype(np.uint64)
    return cells @ _random_numbers()[_places(*grid.shape)]


@cache
def _random_numbers() -> UInt64[np.ndarray, "places colors"]:
    return np.random.default_rng(0).integers(2**64, size=(SEQ_LEN, ARC_COLORS), dtype=np.uint64)


@cache
def _places(rows: int, columns: int) -> Integer[np.ndarray, "transforms cells"]:
    """Return the place in a frame to which each transform moves each cell of a grid."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    places = np.zeros((TRANSFORMS, cells.size), dtype=np.int64)
    for t in range(TRANSFORMS):
        moved = transform(cells, t)
        places[t, moved] = np.arange(moved.shape[0])[:, None] * ARC_SIDE + np.arange(moved.shape[1])
    return places


def _scramble(x: UInt64[np.ndarray, " puzzles"]) -> UInt64[np.ndarray, " puzzles"]:
    """Mix 64 bits so that a sum of results identifies its summands (the finalizer of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
