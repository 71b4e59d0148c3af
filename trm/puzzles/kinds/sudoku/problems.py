"""Faults of Sudoku questions: contradictory clues, no solution, several solutions, no blank. Entry: `find_problem`."""

import numpy as np

from trm.puzzles.kinds.kind import Problem
from trm.puzzles.kinds.sudoku.generate import solve
from trm.puzzles.kinds.sudoku.rules import Board, units

BUDGET_SECONDS = 0.9
"""Time limit of the exact solver for one puzzle, in seconds."""


def find_problem(board: Board) -> Problem | None:
    """Return the first fault of a question, or None. The exact solver has `BUDGET_SECONDS`."""
    n = len(board)
    flat = board.ravel()
    for number, cells in enumerate(units(n)):
        digits = flat[cells]
        counts = np.bincount(digits[digits > 0], minlength=n + 1)
        if (counts > 1).any():
            digit = int((counts > 1).argmax())
            first, second = (divmod(int(cell), n) for cell in cells[digits == digit][:2])
            unit = ("row", "column", "box")[number // n]
            places = f"row {first[0] + 1}, column {first[1] + 1} and row {second[0] + 1}, column {second[1] + 1}"
            return Problem(f"contradictory clues: two {digit} in a {unit}, at {places}", hopeless=True)
    if (flat > 0).all():
        return Problem("already solved: it has no blank", hopeless=False)
    solutions = solve(board, budget_seconds=BUDGET_SECONDS)
    if len(solutions.boards) > 1:
        return Problem("has several solutions: any of them may be the answer", hopeless=False)
    if not solutions.complete:
        return Problem("may have several solutions: a second was too short to decide", hopeless=False)
    return None if solutions.boards else Problem("has no solution", hopeless=True)
