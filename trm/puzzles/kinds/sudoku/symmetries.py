"""Symmetries of Sudoku. Entry: `draw_symmetries`, `draw_on_tokens`, `canonical_forms`."""

import itertools
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0, Boards, box_shape
from trm.puzzles.kinds.symmetries import Symmetries, least_rows


class SudokuSymmetries(NamedTuple):
    """One symmetry for each board: `new[i, j] = digits[old[rows[i], columns[j]]]`, `old` transposed if `transposed`."""

    digits: Integer[np.ndarray, "boards digits"]
    """New digit of each digit; 0, the blank, stays."""
    transposed: Bool[np.ndarray, " boards"]
    rows: Integer[np.ndarray, "boards n"]
    columns: Integer[np.ndarray, "boards n"]


def draw_symmetries(rng: np.random.Generator, boards: int, n: int) -> SudokuSymmetries:
    """Draw uniformly: digits, transposition (where boxes are square), bands, rows, stacks, columns."""
    box_rows, box_columns = box_shape(n)
    digits = np.zeros((boards, n + 1), dtype=np.uint8)
    # NumPy shuffles whole words in half the time that it takes for bytes, to the same order.
    digits[:, 1:] = rng.permuted(np.broadcast_to(np.arange(1, n + 1), (boards, n)), axis=1)
    square = box_rows == box_columns
    return SudokuSymmetries(
        digits,
        rng.random(boards) < 0.5 if square else np.zeros(boards, dtype=bool),
        _draw_lines(rng, boards, n // box_rows, box_rows),
        _draw_lines(rng, boards, n // box_columns, box_columns),
    )


_MOST_LISTED = 100_000
"""Largest number of orders of lines that is listed; of more, as for 16x16, an order is drawn line by line."""


def _draw_lines(rng: np.random.Generator, boards: int, bands: int, per_band: int) -> Integer[np.ndarray, "boards n"]:
    if math.factorial(bands) * math.factorial(per_band) ** bands <= _MOST_LISTED:
        orders = _line_orders(bands, per_band)
        return orders[rng.integers(len(orders), size=boards)]
    order = rng.permuted(np.tile(np.arange(bands), (boards, 1)), axis=1)
    within = rng.permuted(np.tile(np.arange(per_band), (boards, bands, 1)), axis=2)
    return (order[:, :, None] * per_band + within).reshape(boards, bands * per_band).astype(np.uint8)


def source_cells(symmetries: SudokuSymmetries) -> Integer[np.ndarray, "boards cells"]:
    """Return, for each place on each board, the flat index of the cell that moves to it."""
    count, n = symmetries.rows.shape
    first, second = symmetries.rows[:, :, None], symmetries.columns[:, None, :]
    cells = np.where(symmetries.transposed[:, None, None], n * second + first, n * first + second)
    return cells.reshape(count, n * n)


def on_tokens(symmetries: SudokuSymmetries) -> Symmetries:
    """Return the same symmetries for boards as tokens; padding stays padding."""
    padding = np.zeros((len(symmetries.digits), TOKEN_OF_DIGIT_0), np.uint8)
    tokens = np.concatenate([padding, symmetries.digits + np.uint8(TOKEN_OF_DIGIT_0)], axis=1)
    return Symmetries(source_cells(symmetries), tokens)


def draw_on_tokens(rng: np.random.Generator, boards: int, n: int) -> Symmetries:
    """Draw symmetries for boards as tokens."""
    return on_tokens(draw_symmetries(rng, boards, n))


MOST_REARRANGED = 1_000_000
"""Largest number of rearranged boards that `canonical_forms` compares."""


def canonical_forms(boards: Boards) -> Integer[np.ndarray, "boards cells"]:
    """Return one representative of all boards that are equal up to a symmetry, digits numbered by first appearance.

    It is the least of all rearrangements. Of more than `MOST_REARRANGED`, as for every 9x9 board, it is the least of
    the rotations and reflections that keep boxes; boards that are equal up to other symmetries then have different
    forms.
    """
    n = boards.shape[-1]
    box_rows, box_columns = box_shape(n)
    every = [math.factorial(n // size) * math.factorial(size) ** (n // size) for size in (box_rows, box_columns)]
    square = box_rows == box_columns
    if len(boards) * every[0] * every[1] * (1 + square) <= MOST_REARRANGED:
        rows, columns = _line_orders(n // box_rows, box_rows), _line_orders(n // box_columns, box_columns)
    else:
        rows = columns = np.stack([np.arange(n), np.arange(n)[::-1]])
    cells = np.arange(n * n).reshape(n, n)
    sources = cells[rows.astype(int)][:, :, columns.astype(int)].transpose(0, 2, 1, 3).reshape(-1, n, n)
    if square:
        sources = np.concatenate([sources, sources.swapaxes(1, 2)])
    sources = sources.reshape(len(sources), n * n)
    flat = boards.reshape(-1, n * n).astype(np.uint8)
    at_a_time = max(1, 2**18 // len(sources))
    chunks = [flat[start : start + at_a_time] for start in range(0, len(flat), at_a_time)]
    return np.concatenate([least_rows(_renumber(chunk[:, sources])) for chunk in chunks])


def _renumber(boards: Integer[np.ndarray, "*batch cells"]) -> Integer[np.ndarray, "*batch cells"]:
    """Number digits by first appearance; blanks and padding are 0."""
    flat = boards.reshape(-1, boards.shape[-1])
    renumbered = np.zeros_like(flat)
    names = np.zeros((len(flat), int(flat.max()) + 1), flat.dtype)
    following = np.ones(len(flat), flat.dtype)
    every = np.arange(len(flat))
    for cell in range(flat.shape[1]):
        digits = flat[:, cell]
        new = (digits > 0) & (names[every, digits] == 0)
        names[every[new], digits[new]] = following[new]
        following[new] += 1
        renumbered[:, cell] = names[every, digits]
    return renumbered.reshape(boards.shape)


@cache
def _line_orders(bands: int, per_band: int) -> Integer[np.ndarray, "orders n"]:
    """List every order of the lines that permutes the bands and the lines within each band."""
    within = list(itertools.permutations(range(per_band)))
    return np.array(
        [
            [band * per_band + line for band, lines in zip(order, choice, strict=True) for line in lines]
            for order in itertools.permutations(range(bands))
            for choice in itertools.product(within, repeat=bands)
        ],
        dtype=np.uint8,
    )
