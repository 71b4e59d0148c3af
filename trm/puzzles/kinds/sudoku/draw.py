"""Drawings of Sudokus. Entry: `draw_sudoku`."""

from rich.text import Text

from trm.puzzles.kinds.sudoku.rules import Board, box_shape

CLUE, RIGHT, WRONG, ANSWER, BLANK = "bold", "green", "bold red", "cyan", "dim"


def draw_sudoku(question: Board, board: Board, answer: Board | None = None) -> Text:
    """Draw a board: clues in bold, the rest green or red against an answer, or plain without one.

    Blanks and padding are drawn as dots.
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


def _style(clue: int, digit: int, right: int | None) -> str:
    if digit < 1:
        return BLANK
    if right is not None and digit != right:
        return WRONG
    if clue:
        return CLUE
    return ANSWER if right is None else RIGHT
