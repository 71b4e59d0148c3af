"""Pictures in the terminal: what enters are boards, what leaves is text with colours."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Integer
from rich.table import Table
from rich.text import Text

from trm.puzzles.kinds.sudoku.boards import TOKEN_OF_DIGIT_0, box_shape
from trm.puzzles.metadata import MAZE_CHARACTERS, Metadata

Board = Integer[np.ndarray, "n n"]

GAP = 3
"""Columns between drawings that lie side by side."""
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


def draw_changes(puzzle: Text, boards: Integer[np.ndarray, "steps n n"], drawings: Sequence[Text], width: int) -> Table:
    """Lay out a puzzle and the drawings of those of its boards that a supervision step changed, side by side.

    Only so many as fit into `width` columns, and at least two.
    """
    changed = [0, *(i for i in range(1, len(boards)) if (boards[i] != boards[i - 1]).any())]
    most = max(2, (width + GAP) // (_columns(puzzle) + GAP) - 1)
    # The first ones tell the most; the last one is where it ends.
    shown = changed if len(changed) <= most else [*changed[: most - 1], changed[-1]]
    return side_by_side({"puzzle": puzzle} | {f"step {i + 1}": drawings[i] for i in shown}, width)


def draw_reasoning(question: Board, boards: Integer[np.ndarray, "steps n n"], answer: Board, width: int) -> Table:
    """Draw a Sudoku and the board after supervision steps that changed it, with what is wrong against an answer."""
    drawings = []
    for board in boards:
        wrong = int((board != answer).sum())
        verdict = (f"{wrong} wrong", WRONG) if wrong else ("solved", RIGHT)
        drawings.append(Text.assemble(draw_sudoku(question, board, answer), "\n", verdict))
    return draw_changes(draw_sudoku(question, question), boards, drawings, width)


MAZE_STYLES = {"#": "on grey35", " ": "", "S": "bold black on green", "G": "bold black on red", "o": "on cyan"}
ARC_STYLES = "black blue red green yellow grey50 magenta dark_orange deep_sky_blue1 dark_red".split()
"""Colours 0 to 9, close to those of the ARC web site."""


def draw_maze(board: Board) -> Text:
    """Draw a maze of tokens, two columns to a cell."""
    text = Text()
    for row in board.tolist():
        for token in row:
            character = MAZE_CHARACTERS[token - 1] if token else "?"
            text.append(character * 2 if character in "#o" else f"{character} ", MAZE_STYLES.get(character, WRONG))
        text.append("\n")
    text.right_crop(1)
    return text


def draw_grid(frame: Board) -> Text:
    """Draw the part of a frame of ARC tokens that has colours, two columns to a cell."""
    used = frame > 0
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    text = Text()
    for row in frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].tolist() if len(rows) else []:
        for token in row:
            text.append(*((f"{token - 2} ", f"on {ARC_STYLES[token - 2]}") if token >= 2 else ("  ", "")))
        text.append("\n")
    text.right_crop(1)
    return text


def draw_example(
    metadata: Metadata, question: Integer[np.ndarray, " seq_len"], answer: Integer[np.ndarray, " seq_len"]
) -> dict[str, Text]:
    """Draw an example of a puzzle set as it is fed to the network; nothing where it is not known what it is."""
    side, kind = metadata.side, metadata.puzzle_kind
    if side is None or kind == "other":
        return {}
    boards = question.reshape(side, side), answer.reshape(side, side)
    if kind == "sudoku":
        first, second = (board - TOKEN_OF_DIGIT_0 for board in boards)
        return {"first puzzle": draw_sudoku(first, first), "answer": draw_sudoku(first, second)}
    draw = draw_maze if kind == "maze" else draw_grid
    return {"first puzzle": draw(boards[0]), "answer": draw(boards[1])}


def side_by_side(drawings: Mapping[str, Text], width: int) -> Table:
    """Lay drawings out in a row under their titles, or one below the other where a row is wider than `width`."""
    grid = Table.grid(padding=(0, GAP))
    titles = [Text(title, "underline") for title in drawings]
    needed = sum(max(len(title), _columns(drawing)) for title, drawing in drawings.items())
    if needed + GAP * (len(drawings) - 1) <= width:
        grid.add_row(*titles)
        grid.add_row(*drawings.values())
        return grid
    # Wider than the console alone: better cut off than every row broken in two.
    grid.add_column(no_wrap=True, overflow="crop")
    for title, drawing in zip(titles, drawings.values(), strict=True):
        grid.add_row(title)
        grid.add_row(drawing)
    return grid


def _columns(drawing: Text) -> int:
    return max(map(len, drawing.plain.split("\n")))


def _style(clue: int, digit: int, right: int | None) -> str:
    if digit < 1:
        return BLANK
    if right is not None and digit != right:
        return WRONG
    if clue:
        return CLUE
    return ANSWER if right is None else RIGHT
