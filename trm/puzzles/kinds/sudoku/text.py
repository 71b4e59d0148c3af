"""Sudokus as text and in files. Entry: `read_sudokus`, `parse_board`, `format_board`, `read_table`, `write_csv`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trm.errors import InputError
from trm.puzzles.csv_files import Row, Rows, read_rows, write_rows
from trm.puzzles.kinds.sudoku.generate import solve
from trm.puzzles.kinds.sudoku.grids import expected_cells, is_answer, read_grids
from trm.puzzles.kinds.sudoku.rows import BLANKS, LETTERS, cells_of, plain_cell
from trm.puzzles.kinds.sudoku.rules import SIDES, Board, obeys_rules, units
from trm.puzzles.kinds.tables import Puzzle, Table, parse_ratings
from trm.puzzles.kinds.text import look_up, name_cell
from trm.puzzles.text.columns import ANSWER, QUESTION
from trm.puzzles.text.decode import read_text
from trm.puzzles.text.entries import Board as WrittenBoard
from trm.puzzles.text.entries import read_entries, with_answers

DIGITS = "." + "123456789" + LETTERS[:7]
"""Character of each digit, from the blank to G, which is 16."""


class ReadSudoku(NamedTuple):
    """A Sudoku that was read."""

    where: str
    question: Board
    answer: Board | None
    rating: str


def read_sudokus(
    text: str, where: str, side: int | None = None, columns: Mapping[str, str] | None = None
) -> list[ReadSudoku]:
    """Read all Sudokus in a text of any form; `side` is that of the boards, where it is known.

    Raises InputError, beginning with the place of the puzzle, for text that is not a Sudoku, and for text that can be
    read in two ways.
    """
    entries = read_entries(text, where, looks, lambda plain, place: read_grids(plain, place, side), columns)
    entries = with_answers(entries, is_answer)
    return [
        ReadSudoku(
            entry.where,
            _encode(entry.question, entry.where, entry.answer),
            None if entry.answer is None else _encode(entry.answer, f"{entry.where}: answer", entry.question),
            entry.rating,
        )
        for entry in entries
    ]


def parse_board(text: str, where: str) -> Board:
    """Read one board of any size; raise InputError, beginning with `where`, for several, and for other text."""
    found = read_sudokus(text, where)
    if len(found) != 1:
        raise InputError(f"{where}: found {len(found)} puzzles, expected one")
    return found[0].question


def format_board(board: Board) -> str:
    """Write a board row by row, '.' for a blank, A to G for 10 to 16. Inverse: `parse_board`."""
    return "".join(DIGITS[digit] if digit < len(DIGITS) else "?" for digit in board.ravel().tolist())


def looks(text: str) -> str | None:
    """Return QUESTION or ANSWER for a field of a table that is a whole board, else None."""
    text = text.strip()
    n = math.isqrt(len(text))
    if n * n != len(text) or n not in SIDES or not set(text) <= set(cells_of(n)):
        return None
    return QUESTION if any(blank in text for blank in BLANKS) else ANSWER


def read_table(path: str | Path, columns: Mapping[str, str] | None = None) -> Table:
    """Read puzzles with their answers from a file of any form; the exact solver finds missing answers.

    A table, even of millions of rows, is converted as a whole. Raises InputError, naming file and row, for text that is
    not a puzzle, for an answer that changes a clue or breaks the rules, and for a puzzle without answer that does not
    have exactly one solution.
    """
    rows = read_rows(path, looks, columns)
    if rows is not None and (table := _read_rows(rows)) is not None:
        return table
    found = read_sudokus(read_text(path), str(path), None, columns)
    n = len(found[0].question)
    for puzzle in found:
        if len(puzzle.question) != n or (puzzle.answer is not None and len(puzzle.answer) != n):
            other = len(puzzle.question)
            raise InputError(f"{puzzle.where}: found a {other}x{other} board, expected {n}x{n} as before")
    places = [puzzle.where for puzzle in found]
    questions = np.stack([puzzle.question for puzzle in found])
    answers = [puzzle.question * 0 if puzzle.answer is None else puzzle.answer for puzzle in found]
    missing = np.array([puzzle.answer is None for puzzle in found])
    ratings = parse_ratings([puzzle.rating for puzzle in found], places)
    return _checked(Table(questions, np.stack(answers), ratings), missing, places)


def write_csv(path: str | Path, source: str, puzzles: Iterable[Puzzle]) -> int:
    """Write puzzles as a CSV file, gzip when its name ends in .gz; return their number."""
    return write_rows(path, source, (Row(format_board(p.question), format_board(p.answer), p.rating) for p in puzzles))


def _read_rows(rows: Rows) -> Table | None:
    """Convert the columns of a table as a whole; None where a row must be parsed by itself."""
    length = len(rows.questions[0])
    n = math.isqrt(length)
    if n * n != length or n not in SIDES or n > 9:
        return None
    codes = dict.fromkeys(BLANKS, 0) | {str(digit): digit for digit in range(1, n + 1)}
    questions = look_up(rows.questions, length, codes)
    given = rows.answers or [""] * len(rows.questions)
    missing = np.array([not answer for answer in given])
    answers = look_up([answer or "." * length for answer in given], length, codes)
    if questions is None or answers is None:
        return None
    if rows.answers is None and (questions > 0).all(axis=1).any():
        return None  # Perhaps each puzzle is followed by its solution.
    places = [f"{rows.path}: row {number}" for number in rows.numbers] if missing.any() else rows.places
    boards = questions.reshape(-1, n, n), answers.reshape(-1, n, n)
    return _checked(Table(*boards, parse_ratings(rows.ratings, rows.places)), missing, places)


def _checked(table: Table, missing: np.ndarray, places: Sequence[str]) -> Table:
    """Return the table with its missing answers; raise InputError for a wrong one, naming its place."""
    for i in np.flatnonzero(missing).tolist():
        solutions = solve(table.questions[i], budget_seconds=60.0)
        if not solutions.complete or len(solutions.boards) != 1:
            many = "several solutions" if solutions.boards else "no solution"
            found = many if solutions.complete or len(solutions.boards) > 1 else "no answer in a minute"
            raise InputError(f"{places[i]}: question: found no answer given and {found}, expected exactly one solution")
        table.answers[i] = solutions.boards[0]
    broken = np.flatnonzero(~obeys_rules(table.questions, table.answers))
    if len(broken):
        raise InputError(
            f"{places[broken[0]]}: answer: found a digit that changes a clue or is twice in a row, column or box, "
            f"expected a solution of the question"
        )
    return table


def _encode(board: WrittenBoard, where: str, other: WrittenBoard | None) -> Board:
    """Return the digits of a board; the `other` of question and answer is written in the same way."""
    n = math.isqrt(len(board))
    cells = [plain_cell(cell) for cell in board]
    boards = [cells] if other is None or len(other) != len(board) else [cells, [plain_cell(cell) for cell in other]]
    codes = _large_codes(boards, n) if n > 9 else dict.fromkeys(BLANKS, 0) | {str(d): d for d in range(1, n + 1)}
    for position, cell in enumerate(cells):
        if cell not in codes:
            raise InputError(f"{where}: {name_cell(position, n)}: found {cell!r}, expected {expected_cells(n)}")
    return np.array([codes[cell] for cell in cells], np.int64).reshape(n, n)


def _large_codes(boards: list[list[str]], n: int) -> dict[str, int]:
    """Return the digit of each cell as written: numbers from 1 or 0, 1 to G, 0 to F, or A to P."""
    cells = {cell.upper() for board in boards for cell in board}
    written = cells - set(BLANKS) - {"X"}
    numbers = {str(digit): digit for digit in range(1, n + 1)}
    letters = {letter: digit for digit, letter in enumerate(LETTERS, start=10) if digit <= n}
    if written and all(cell.isalpha() for cell in written):
        letters = {letter: digit for digit, letter in enumerate(LETTERS, start=1) if digit <= n}
    blanks = dict.fromkeys(BLANKS, 0)
    if _is_digit_0(boards, n):
        has_blanks = len(cells & set(BLANKS)) > 1
        last = LETTERS[n - 10]
        if last not in written and not any(len(cell) > 1 for cell in cells) and (n == 16 or has_blanks):
            # From 0, hexadecimal for one: every digit is one more than its character.
            from_0 = "0123456789" + LETTERS[: n - 10]
            return (
                blanks
                | {c: digit for digit, c in enumerate(from_0, start=1)}
                | {c.lower(): digit for digit, c in enumerate(from_0, start=1)}
            )
        if str(n) not in written and has_blanks:
            # Numbers from 0, beside another sign for blanks.
            return blanks | {str(digit - 1): digit for digit in range(1, n + 1)}
    return blanks | numbers | letters | {letter.lower(): digit for letter, digit in letters.items()}


def _is_digit_0(boards: list[list[str]], n: int) -> bool:
    """Return whether 0 may be a digit: it is on a board, and on none twice in a row, column or box."""
    zeros = np.array([[cell == "0" for cell in board] for board in boards])
    return bool(zeros.any()) and bool((zeros[:, units(n)].sum(axis=-1) <= 1).all())
