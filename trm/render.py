"""Pictures in the terminal: what enters are boards, what leaves is text with colours."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer
from rich.table import Table
from rich.text import Text

from trm.data.sudoku import box_shape

Board = Integer[np.ndarray, "n n"]

CLUE, RIGHT, WRONG, ANSWER, BLANK = "bold", "green", "bold red", "cyan", "dim"


def draw_sudoku(question: Board, board: Board, answer: Board | None = None) -> Text:
    """Draw a board: clues in bold, the rest green or red against an answer, or plain without one.

    What is no digit (a blank, padding) is drawn as a dot.
    """
    n = question.shape[0]
    box_rows, box_columns = box_shape(n)
    rule = "+".join(["-" * (2 * box_columns + 1)] * (n // box_columns))
    text = Text()
    for i in range(n):
        if i and i % box_rows == 0:
            text.append(rule + "\n", BLANK)
        for j in range(n):
            if j and j % box_columns == 0:
                text.append(" |", BLANK)
            digit = int(board[i, j])
            shown = str(digit) if 1 <= digit <= n else "·"
            text.append(" ")
            text.append(shown, _style(int(question[i, j]), digit, None if answer is None else int(answer[i, j])))
        text.append("\n")
    text.rstrip()
    return text


def draw_reasoning(
    question: Board, boards: Integer[np.ndarray, "steps n n"], answer: Board | None = None, most: int = 5
) -> Table:
    """Draw the question and the board after each supervision step that changed it, at most so many, side by side."""
    changed = [0, *(i for i in range(1, len(boards)) if (boards[i] != boards[i - 1]).any())]
    if len(changed) > most:
        # The first ones tell the most; the last one is where it ends.
        changed = [*changed[: most - 1], changed[-1]]
    drawings = {"puzzle": draw_sudoku(question, question)}
    drawings |= {f"step {i + 1}": draw_sudoku(question, boards[i], answer) for i in changed}
    grid = side_by_side(drawings)
    if answer is None:
        return grid
    wrong = [int((boards[i] != answer).sum()) for i in changed]
    grid.add_row("", *(Text(f"{count} wrong" if count else "solved", WRONG if count else RIGHT) for count in wrong))
    return grid


def side_by_side(drawings: Mapping[str, Text]) -> Table:
    """Lay drawings out in a row under their titles."""
    grid = Table.grid(padding=(0, 3))
    grid.add_row(*(Text(title, "underline") for title in drawings))
    grid.add_row(*drawings.values())
    return grid


def _style(clue: int, digit: int, right: int | None) -> str:
    if digit < 1:
        return BLANK
    if right is not None and digit != right:
        return WRONG
    if clue:
        return CLUE
    return ANSWER if right is None else RIGHT
