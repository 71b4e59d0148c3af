"""Choosing the augmentations of ARC tasks. Entry: `choose_augmentations`, `SeededDraws`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt64

from trm.puzzles.kinds.arc.augmentations import IDENTITY, Augmentation, name_augmentation
from trm.puzzles.kinds.arc.frames import DrawOffsets
from trm.puzzles.kinds.arc.grids import ARC_COLORS, ARC_SIDE, SEQ_LEN, Grid
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.streams import Purpose, random_stream

TRIES_PER_AUGMENTATION = 5
"""Draws for each wanted augmentation; a task with few different ones is left with those that were found."""


class Augmentations(NamedTuple):
    """The puzzles of a group: how to make each from the task. The first is the task itself."""

    transforms: Integer[np.ndarray, " puzzles"]
    colors: Integer[np.ndarray, "puzzles 10"]

    def names(self, task: str) -> Iterator[str]:
        """Yield the puzzles' names."""
        yield task
        for t, colors in zip(self.transforms[1:].tolist(), self.colors[1:], strict=True):
            yield name_augmentation(task, Augmentation(t, colors))


DrawAugmentations = Callable[[int], Augmentations]
"""Draws a number of augmentations, one after the other; called again where some were not new."""


@runtime_checkable
class Draws(Protocol):
    """The random choices of building a set, in the order in which they are asked for."""

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        """Draw the order of a subset's tasks."""
        ...

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        """Return what draws the augmentations of a task."""
        ...

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        """Return what draws the places of pairs, `pairs` to a puzzle, of puzzles from number `puzzle` on."""
        ...


@dataclass(frozen=True)
class SeededDraws:
    """Draws that depend on a seed and on what is drawn, not on the order of the calls."""

    seed: int

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        return random_stream(self.seed, Purpose.ARC_ORDER, subset).permutation(tasks)

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        return partial(_draw_augmentations, random_stream(self.seed, Purpose.ARC_AUGMENTATIONS, subset, task))

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        if split == "test":
            return lambda room: np.zeros_like(room)
        return partial(_draw_offsets, random_stream(self.seed, Purpose.ARC_OFFSETS, group, puzzle), pairs)


def _draw_augmentations(rng: np.random.Generator, count: int) -> Augmentations:
    colors = np.zeros((count, ARC_COLORS), dtype=np.uint8)
    # Black means nothing in most tasks, and keeps meaning that.
    colors[:, 1:] = rng.permuted(np.tile(np.arange(1, ARC_COLORS, dtype=np.uint8), (count, 1)), axis=1)
    return Augmentations(rng.integers(TRANSFORMS, size=count, dtype=np.uint8), colors)


def _draw_offsets(
    rng: np.random.Generator, pairs: int, room: Integer[np.ndarray, "batch 2"]
) -> Integer[np.ndarray, "batch 2"]:
    offsets = rng.integers(room)
    # One pair of each puzzle stays at the top left.
    starts = np.arange(0, len(room), pairs)
    offsets[starts + rng.integers(pairs, size=len(starts))] = 0
    return offsets


def choose_augmentations(task: Task, num_aug: int, draw: DrawAugmentations) -> Augmentations:
    """Choose up to `num_aug` augmentations that make different pairs, from the task's own and from each other's."""
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
    """Tells augmentations of a task apart by 64 bits each, without making them.

    Two are the same when they make the same pairs, in whatever order. The signature of a grid is the sum of random
    numbers, one for each place and colour; those of all cells of one colour are added up once, for each colour that it
    may become and each transform.
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
    """Say where each transform takes each cell of a grid, as places in a frame."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    places = np.zeros((TRANSFORMS, cells.size), dtype=np.int64)
    for t in range(TRANSFORMS):
        moved = transform(cells, t)
        places[t, moved] = np.arange(moved.shape[0])[:, None] * ARC_SIDE + np.arange(moved.shape[1])
    return places


def _scramble(x: UInt64[np.ndarray, " puzzles"]) -> UInt64[np.ndarray, " puzzles"]:
    """Mix 64 bits so that sums of the results tell the summands (the finalizer of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
