"""Random choices in building ARC sets: order, augmentations, places. Entry: `SeededDraws`, `OriginalDraws`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer

from trm.puzzles.kinds.arc.augmentations import Augmentations
from trm.puzzles.kinds.arc.frames import DrawOffsets
from trm.puzzles.kinds.arc.grids import ARC_COLORS
from trm.puzzles.kinds.dihedral import TRANSFORMS
from trm.puzzles.streams import Purpose, random_stream

DrawAugmentations = Callable[[int], Augmentations]
"""Draws a number of augmentations, one after the other; called again where some were not new."""


@runtime_checkable
class Draws(Protocol):
    """The random choices of building a set, in the order in which they are asked for."""

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        """Draw the order of a subset's tasks."""
        ...

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        """Return the function that draws the augmentations of a task."""
        ...

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        """Return the function that draws the places of pairs, `pairs` per puzzle, from puzzle number `puzzle` on."""
        ...


@dataclass(frozen=True)
class SeededDraws:
    """Draws that depend on a seed and on the arguments of a call, not on the order of the calls."""

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
    # Black is the background of most tasks, and stays black.
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


class OriginalDraws:
    """The draws of the original's builder, in its order, all from one generator: the same set, bit for bit.

    They depend on the order of the calls: building in several processes would make another set.
    """

    def __init__(self, seed: int):
        self._draws = np.random.RandomState(seed)

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        order = np.arange(tasks)
        self._draws.shuffle(order)
        return order

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        return self._draw_augmentations

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        return partial(self._draw_offsets, split, pairs)

    def _draw_augmentations(self, count: int) -> Augmentations:
        transforms, colors = np.zeros(count, np.uint8), np.zeros((count, ARC_COLORS), np.uint8)
        for i in range(count):
            transforms[i] = self._draws.randint(0, TRANSFORMS)
            colors[i, 1:] = self._draws.permutation(np.arange(1, ARC_COLORS, dtype=np.uint8))
        return Augmentations(transforms, colors)

    def _draw_offsets(
        self, split: str, pairs: int, room: Integer[np.ndarray, "batch 2"]
    ) -> Integer[np.ndarray, "batch 2"]:
        offsets = np.zeros_like(room)
        for start in range(0, len(room), pairs):
            stays = self._draws.randint(0, pairs)
            for i in range(pairs):
                if split == "train" and i != stays:
                    offsets[start + i] = [self._draws.randint(0, limit) for limit in room[start + i]]
        return offsets
