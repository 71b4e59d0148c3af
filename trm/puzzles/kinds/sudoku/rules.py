"""Rules of Sudoku on boards of any size. Entry: `obeys_rules`, `find_wrong`.

A board is an (n, n) array of digits 1 to n, 0 for a blank. Tokens are digits plus one: 0 is padding and 1 a blank, so
the vocabulary has n + 2 tokens. Boxes are as square as n allows, wider than high: 2x2 for n = 4, 2x3 for 6, 3x3 for 9.
"""

import math
from functools import cache

import numpy as np
from jaxtyping import Bool, Integer

TOKEN_OF_DIGIT_0 = 1
Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]
SIDES = (4, 5, 6, 7, 8, 9, 10, 12, 16)
"""Sides of the boards that can be read and written."""


def box_shape(n: int) -> tuple[int, int]:
    """Return (rows, columns) of a box on an n x n board."""
    rows = max(r for r in range(1, math.isqrt(n) + 1) if n % r == 0)
    return rows, n // rows


@cache
def units(n: int) -> Integer[np.ndarray, "units n"]:
    """Return the cells, by flat index, of every row, column and box."""
    cells = np.arange(n * n).reshape(n, n)
    rows, columns = box_shape(n)
    boxes = cells.reshape(n // rows, rows, n // columns, columns).swapaxes(1, 2).reshape(n, n)
    return np.concatenate([cells, cells.T, boxes])


def obeys_rules(questions: Boards, answers: Boards) -> Bool[np.ndarray, " boards"]:
    """Return for each answer whether it keeps the clues and has every digit once in every row, column and box."""
    n = answers.shape[-1]
    flat = answers.reshape(len(answers), n * n)
    complete = (np.sort(flat[:, units(n)], axis=-1) == np.arange(1, n + 1)).all(axis=(1, 2))
    return complete & ((questions == 0) | (questions == answers)).all(axis=(1, 2))


def find_wrong(questions: Boards, answers: Boards) -> Bool[np.ndarray, "boards n n"]:
    """Mark the cells of each answer without a digit, with another one than the clue, or with one twice in a unit."""
    n = answers.shape[-1]
    flat, clues = (boards.reshape(len(boards), n * n) for boards in (answers, questions))
    wrong = (flat < 1) | (flat > n) | ((clues > 0) & (clues != flat))
    for unit in units(n):
        digits = flat[:, unit]
        wrong[:, unit] |= (digits[:, :, None] == digits[:, None, :]).sum(axis=2) > 1
    return wrong.reshape(answers.shape)
