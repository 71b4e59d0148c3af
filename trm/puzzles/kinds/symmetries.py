"""Symmetries of puzzles as tokens. Entry: `Symmetries`, `dihedral_symmetries`.

A symmetry moves cells and renames tokens. It maps a puzzle with its answer to another puzzle with its answer, and can
be undone on any answer of a network.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.puzzles.kinds.dihedral import TRANSFORMS, transform


class Symmetries(NamedTuple):
    """Symmetries by number: `new[i] = tokens[old[cells[i]]]`."""

    cells: Integer[np.ndarray, "symmetries seq_len"]
    """Index of the cell that moves to each place; a permutation."""
    tokens: Integer[np.ndarray, "symmetries vocab"]
    """New token of each token; a permutation."""

    def apply(self, puzzles: Integer[np.ndarray, "symmetries seq_len"]) -> Integer[np.ndarray, "symmetries seq_len"]:
        """Apply symmetry i to puzzle i."""
        start = np.arange(len(puzzles))[:, None]
        renamed = self.tokens.ravel().take(puzzles + start * self.tokens.shape[1])
        return renamed.ravel().take(self.cells + start * self.cells.shape[1])


def dihedral_symmetries(transforms: Integer[np.ndarray, " symmetries"], seq_len: int, vocab_size: int) -> Symmetries:
    """Return rotations and reflections of a square board, by their numbers from 0 to 7 (see `transform`)."""
    side = math.isqrt(seq_len)
    cells = np.arange(seq_len).reshape(side, side)
    every = np.stack([transform(cells, t).ravel() for t in range(TRANSFORMS)])
    return Symmetries(every[transforms], np.tile(np.arange(vocab_size, dtype=np.uint8), (len(transforms), 1)))


def least_rows(rows: Integer[np.ndarray, "puzzles symmetries seq_len"]) -> Integer[np.ndarray, "puzzles seq_len"]:
    """Return the first row in lexicographic order of each puzzle's."""
    puzzles, _, seq_len = rows.shape
    # NumPy compares byte strings without their zeros at the end, which changes no order and no equality here.
    text = np.ascontiguousarray(rows, np.uint8).view(f"S{seq_len}")[:, :, 0]
    least = np.sort(text, axis=1)[:, 0]
    return np.ascontiguousarray(least).view(np.uint8).reshape(puzzles, seq_len)
