"""Views: what enters are puzzles as tokens, what leaves are the same puzzles seen through symmetries of their kind.

A symmetry moves cells and renames tokens, so that it can be undone on whatever a network answers.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.kinds.sudoku.boards import TOKEN_OF_DIGIT_0, draw_symmetries, source_cells
from trm.puzzles.metadata import Metadata


class Views(NamedTuple):
    """Symmetries, the first of which leaves everything as it is; they are the same for all puzzles."""

    cells: Integer[np.ndarray, "views seq_len"]
    """The cell that comes to each place, of every cell one."""
    tokens: Integer[np.ndarray, "views vocab"]
    """The new token of each token, of every token one."""

    def apply(self, puzzles: Integer[np.ndarray, "*batch seq_len"]) -> Integer[np.ndarray, "*batch views seq_len"]:
        """See puzzles through every view."""
        return _rename(self.tokens, puzzles[..., self.cells])

    def undo(self, answers: Integer[np.ndarray, "*batch views seq_len"]) -> Integer[np.ndarray, "*batch views seq_len"]:
        """Turn what was answered to each view into answers to the puzzle."""
        places = np.argsort(self.cells, axis=-1)
        renamed = _rename(np.argsort(self.tokens, axis=-1), answers)
        return np.take_along_axis(renamed, np.broadcast_to(places, renamed.shape), axis=-1)


def make_views(metadata: Metadata, views: int, seed: int = 0) -> Views:
    """Return so many views of the puzzles of a set.

    Of Sudokus they are drawn at random, of mazes they are the first few rotations and reflections; other puzzles have
    none but the first. Raises InputError for more than there are.
    """
    kind = metadata.puzzle_kind
    most = {"sudoku": None, "maze": TRANSFORMS}.get(kind, 1)
    if views < 1 or (most is not None and views > most):
        expected = "1 or more" if most is None else "1" if most == 1 else f"1 to {most}"
        raise InputError(f"views: found {views}, expected {expected} (puzzles of kind {kind!r})")
    if kind == "sudoku":
        return _views_of_sudoku(metadata, views, seed)
    cells = np.arange(metadata.seq_len)[None]
    if kind == "maze":
        side = math.isqrt(metadata.seq_len)
        cells = np.stack([transform(cells.reshape(side, side), t).ravel() for t in range(views)])
    return Views(cells, np.tile(np.arange(metadata.vocab_size), (views, 1)))


def _views_of_sudoku(metadata: Metadata, views: int, seed: int) -> Views:
    n = metadata.vocab_size - 2
    symmetries = draw_symmetries(np.random.default_rng(seed), views, n)
    for order in (symmetries.digits, symmetries.rows, symmetries.columns):
        order[0] = np.arange(order.shape[1])
    symmetries.transposed[0] = False
    # Padding stays what it is, and so does the blank, which is digit 0.
    padding = np.zeros((views, TOKEN_OF_DIGIT_0), int)
    return Views(
        source_cells(symmetries).astype(int),
        np.concatenate([padding, symmetries.digits.astype(int) + TOKEN_OF_DIGIT_0], axis=1),
    )


def _rename(
    names: Integer[np.ndarray, "views vocab"], tokens: Integer[np.ndarray, "*batch views seq_len"]
) -> Integer[np.ndarray, "*batch views seq_len"]:
    return names[np.arange(len(names))[:, None], tokens].astype(tokens.dtype)
