"""Building Sudoku puzzle sets. Entry: `build_split`, in memory; `write_split`, a few puzzles at a time."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0, Boards
from trm.puzzles.kinds.sudoku.symmetries import draw_on_tokens
from trm.puzzles.kinds.symmetries import Symmetries
from trm.puzzles.kinds.tables import Table, describe_split, indices_of_single_examples
from trm.puzzles.metadata import INDICES, RATINGS, Metadata
from trm.puzzles.writing import TokenFiles, write_field, write_metadata

Tokens = Integer[np.ndarray, "examples cells"]
Draw = Callable[[int], Symmetries]
"""Draws a number of symmetries, for all augmentations of one puzzle after the other."""


def build(table: Table, num_aug: int, draw: Draw) -> PuzzleArrays:
    """Convert puzzles to arrays, each followed by `num_aug` augmentations of itself; together they are one group."""
    inputs, labels = (np.concatenate(chunks) for chunks in zip(*_augment(table, num_aug, draw), strict=True))
    indices = indices_of_single_examples(len(table.questions), 1 + num_aug)
    return PuzzleArrays(inputs, labels, *indices, ratings=table.ratings)


def write_split(folder: Path, table: Table, metadata: Metadata, num_aug: int, draw: Draw) -> None:
    """Write what `build` makes, a few puzzles at a time, as one split of a new puzzle set."""
    copies = 1 + num_aug
    (name,) = metadata.sets
    write_metadata(folder, metadata)
    for field, array in zip(INDICES, indices_of_single_examples(len(table.questions), copies), strict=True):
        write_field(folder, name, field, array)
    write_field(folder, name, RATINGS, table.ratings)
    files = TokenFiles.create(folder, name, len(table.questions) * copies, metadata.seq_len)
    first = 0
    for inputs, labels in _augment(table, num_aug, draw):
        files.write(first, inputs, labels)
        first += len(inputs)


_CHUNK = 4096
"""Boards that are rearranged at a time: few enough to stay in a core's cache."""


def _augment(table: Table, num_aug: int, draw: Draw) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield inputs and labels of the first puzzles with their augmentations, then of the next."""
    count, n, _ = table.questions.shape
    puzzles = max(1, _CHUNK // (1 + num_aug))
    for start in range(0, count, puzzles):
        part = slice(start, min(start + puzzles, count))
        size = part.stop - part.start
        symmetries = draw(size * num_aug) if num_aug else None

        def augmented(boards: Boards, size: int = size, symmetries: Symmetries | None = symmetries) -> Tokens:
            originals = (boards.reshape(size, n * n) + TOKEN_OF_DIGIT_0).astype(np.uint8)
            tokens = np.empty((size, 1 + num_aug, n * n), dtype=np.uint8)
            tokens[:, 0] = originals
            if symmetries is not None:
                tokens[:, 1:] = symmetries.apply(np.repeat(originals, num_aug, axis=0)).reshape(size, num_aug, n * n)
            return tokens.reshape(-1, n * n)

        yield augmented(table.questions[part]), augmented(table.answers[part])


def build_split(
    name: str, table: Table, rng: np.random.Generator, num_aug: int = 0, online_augmentation: bool = False
) -> PuzzleSet:
    """Build one split from puzzles, augmentations drawn from `rng`, or by the loader with `online_augmentation`."""
    count, n, _ = table.questions.shape
    arrays = build(table, num_aug, partial(draw_on_tokens, rng, n=n))
    arrays = dataclasses.replace(arrays, online_augmentation=online_augmentation)
    return PuzzleSet(name, metadata_of(count, n, online_augmentation), {"all": arrays})


def metadata_of(puzzles: int, n: int, online_augmentation: bool = False) -> Metadata:
    """Describe a split of n x n Sudokus."""
    return describe_split("sudoku", puzzles, n + 2, n * n, online_augmentation)
