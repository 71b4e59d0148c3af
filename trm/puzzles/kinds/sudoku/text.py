"""Sudokus as text and in CSV files. Entry: `parse_board`, `format_board`, `read_csv`, `write_csv`."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW, Row, read_rows, write_rows
from trm.puzzles.kinds.sudoku.rules import SIDES, Board, Boards, obeys_rules
from trm.puzzles.kinds.tables import Puzzle, Table
from trm.puzzles.kinds.text import encode_cells, parse_column, parse_square


def parse_board(text: str, where: str) -> Board:
    """Read a board written row by row: digits, and '.' or 0 for a blank; white space is skipped.

    Raises InputError, beginning with `where`, for a length that is no square and for a character out of place.
    """
    compact, n = parse_square(text, where, False, SIDES, "16, 36 or 81 (n x n)")
    return encode_cells(compact, where, _codes(n), n, f"1 to {n}, or . for a blank").astype(np.int64).reshape(n, n)


def format_board(board: Board) -> str:
    """Write a board row by row, '.' for a blank; `parse_board` undoes it."""
    return "".join("." if digit == 0 else str(digit) for digit in board.ravel().tolist())


def read_csv(path: str | Path) -> Table:
    """Read puzzles from a CSV file, plain or gzip, with the columns source, question, answer, rating.

    Raises InputError, naming file and row, for a wrong header, length or character, and for an answer that changes a
    clue or breaks the rules.
    """
    rows = read_rows(path)
    questions, answers = (
        _parse_column(path, column, texts) for column, texts in (("question", rows.questions), ("answer", rows.answers))
    )
    table = Table(questions, answers, rows.ratings)
    broken = np.flatnonzero(~obeys_rules(table.questions, table.answers))
    if len(broken):
        raise InputError(
            f"{path}: row {broken[0] + FIRST_ROW}: answer: found a digit that changes a clue or stands twice in a row, "
            f"column or box, expected a solution of the question"
        )
    return table


def write_csv(path: str | Path, source: str, puzzles: Iterable[Puzzle]) -> int:
    """Write puzzles as a CSV file, gzip when its name ends in .gz; return how many."""
    return write_rows(path, source, (Row(format_board(p.question), format_board(p.answer), p.rating) for p in puzzles))


def _parse_column(path: str | Path, column: str, texts: list[str]) -> Boards:
    n = math.isqrt(len(texts[0]))
    cells = parse_column(path, column, texts, lambda text, where: parse_board(text, where).ravel(), _codes(min(n, 9)))
    n = math.isqrt(cells.shape[1])
    return cells.reshape(len(cells), n, n)


def _codes(n: int) -> dict[str, int]:
    return {".": 0} | {str(digit): digit for digit in range(n + 1)}
