"""Mazes as text and in CSV files. Entry: `parse_maze`, `format_maze`, `read_csv`, `write_csv`."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW, Row, read_rows, write_rows
from trm.puzzles.kinds.maze.rules import (
    GOAL,
    MAZE_CHARACTERS,
    PATH,
    SMALLEST,
    START,
    Board,
    Boards,
    count_moves,
    is_shortest_path,
    misplaced,
)
from trm.puzzles.kinds.tables import Puzzle, Table
from trm.puzzles.kinds.text import encode_cells, name_cell, parse_column, parse_square

QUESTION_CHARACTERS = MAZE_CHARACTERS[: PATH - 1]


def parse_maze(text: str, where: str) -> Board:
    """Read a question written row by row: `#` wall, space free, `S` start, `G` goal; line breaks are skipped.

    Raises InputError, beginning with `where`, for a length that is no square, a character out of place, and any number
    of starts or goals but one.
    """
    board = _parse_cells(text, where, QUESTION_CHARACTERS)
    if not _has_ends(board[None])[0]:
        raise InputError(f"{where}: {_describe_ends(board)}")
    return board


def format_maze(board: Board) -> str:
    """Write a maze row by row, `o` for the path and `?` for padding; `parse_maze` undoes it for a question."""
    return "".join(("?" + MAZE_CHARACTERS)[token] for token in board.ravel().tolist())


def read_csv(path: str | Path) -> Table:
    """Read mazes from a CSV file, plain or gzip, with the columns source, question, answer, rating.

    Raises InputError, naming file and row, for a wrong header, length or character, for a goal out of reach, and for
    an answer that is not the question with a shortest path. Ratings are not checked: they may rate anything.
    """
    rows = read_rows(path)
    questions = _parse_column(path, "question", rows.questions, QUESTION_CHARACTERS)
    answers = _parse_column(path, "answer", rows.answers, MAZE_CHARACTERS)

    def require(fine: Bool[np.ndarray, " boards"], describe: Callable[[int], str]) -> None:
        if not fine.all():
            first = int(fine.argmin())
            raise InputError(f"{path}: row {first + FIRST_ROW}: {describe(first)}")

    def describe_misplaced(i: int) -> str:
        cell = int(np.flatnonzero(changed[i])[0])
        found, given = (MAZE_CHARACTERS[boards[i].flat[cell] - 1] for boards in (answers, questions))
        allowed = f"{given!r} as in the question" + (" or 'o'" if given == " " else "")
        return f"answer: {name_cell(cell, questions.shape[-1])}: found {found!r}, expected {allowed}"

    def describe_path(i: int) -> str:
        length, shortest = np.count_nonzero(answers[i] == PATH) + 1, count_moves(questions[i : i + 1])[0]
        return f"answer: found {length - 1} cells 'o', expected a shortest path from S to G, of {shortest} moves"

    require(_has_ends(questions), lambda i: f"question: {_describe_ends(questions[i])}")
    changed = misplaced(questions, answers)
    require(np.logical_not(changed.any(axis=(1, 2))), describe_misplaced)
    require(count_moves(questions) > 0, lambda i: "question: found no way from S to G, expected one")
    require(is_shortest_path(questions, answers), describe_path)
    return Table(questions, answers, rows.ratings)


def write_csv(path: str | Path, source: str, mazes: Iterable[Puzzle]) -> int:
    """Write mazes as a CSV file, gzip when its name ends in .gz; return how many."""
    return write_rows(path, source, (Row(format_maze(m.question), format_maze(m.answer), m.rating) for m in mazes))


def _parse_cells(text: str, where: str, characters: str) -> Board:
    compact, n = parse_square(text, where, True, _SIDES, "n x n of them, such as 900 for 30 x 30")
    expected = "one of " + ", ".join(map(repr, characters))
    return encode_cells(compact, where, _codes(characters), n, expected).reshape(n, n)


_SIDES = range(SMALLEST, 1 << 16)


def _codes(characters: str) -> dict[str, int]:
    return {character: MAZE_CHARACTERS.index(character) + 1 for character in characters}


def _has_ends(questions: Boards) -> Bool[np.ndarray, " boards"]:
    return ((questions == START).sum(axis=(1, 2)) == 1) & ((questions == GOAL).sum(axis=(1, 2)) == 1)


def _describe_ends(question: Board) -> str:
    starts, goals = (np.count_nonzero(question == token) for token in (START, GOAL))
    return f"found {starts} cells 'S' and {goals} cells 'G', expected one of each"


def _parse_column(path: str | Path, column: str, texts: list[str], characters: str) -> Boards:
    cells = parse_column(
        path, column, texts, lambda text, where: _parse_cells(text, where, characters).ravel(), _codes(characters)
    )
    n = math.isqrt(cells.shape[1])
    return cells.reshape(len(cells), n, n)
