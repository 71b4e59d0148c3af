"""Mazes as text and in files. Entry: `read_mazes`, `parse_maze`, `format_maze`, `read_table`, `write_csv`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from trm.errors import InputError
from trm.puzzles.csv_files import Row, read_rows, write_rows
from trm.puzzles.kinds.maze.grids import CELLS, is_answer, read_grids
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
    shortest_path,
)
from trm.puzzles.kinds.tables import Puzzle, Table, parse_ratings
from trm.puzzles.kinds.text import look_up, name_cell
from trm.puzzles.text.columns import ANSWER, QUESTION
from trm.puzzles.text.decode import read_text
from trm.puzzles.text.entries import Board as WrittenBoard
from trm.puzzles.text.entries import read_entries, with_answers

QUESTION_CHARACTERS = MAZE_CHARACTERS[: PATH - 1]


class ReadMaze(NamedTuple):
    """A maze that was read."""

    where: str
    question: Board
    answer: Board | None
    rating: str


def read_mazes(
    text: str, where: str, side: int | None = None, columns: Mapping[str, str] | None = None
) -> list[ReadMaze]:
    """Read all mazes in a text of any form; `side` is that of the boards, where it is known.

    Raises InputError, beginning with the place of the maze, for text that is not a maze, and for a maze without exactly
    one start and one goal.
    """
    entries = read_entries(text, where, looks, lambda plain, place: read_grids(plain, place, side), columns)
    entries = with_answers(entries, is_answer)
    mazes = [
        ReadMaze(e.where, _encode(e.question), None if e.answer is None else _encode(e.answer), e.rating)
        for e in entries
    ]
    for maze in mazes:
        cells = np.flatnonzero(maze.question == PATH)
        if len(cells):
            place = name_cell(int(cells[0]), len(maze.question))
            expected = "', '".join(QUESTION_CHARACTERS)
            raise InputError(f"{maze.where}: {place}: found 'o', a path, expected one of '{expected}'")
        if not _has_ends(maze.question[None])[0]:
            raise InputError(f"{maze.where}: {_describe_ends(maze.question)}")
    return mazes


def parse_maze(text: str, where: str) -> Board:
    """Read one maze of any size; raise InputError, beginning with `where`, for several, and for other text."""
    found = read_mazes(text, where)
    if len(found) != 1:
        raise InputError(f"{where}: found {len(found)} mazes, expected one")
    return found[0].question


def format_maze(board: Board) -> str:
    """Write a maze row by row, `o` for the path and `?` for padding. Inverse for questions: `parse_maze`."""
    return "".join(("?" + MAZE_CHARACTERS)[token] for token in board.ravel().tolist())


def looks(text: str) -> str | None:
    """Return QUESTION or ANSWER for a field of a table that is a whole board, else None."""
    n = math.isqrt(len(text))
    if n * n != len(text) or n < SMALLEST or not set(text) <= set(CELLS):
        return None
    cells = [CELLS[c] for c in text]
    if cells.count("S") != 1 or cells.count("G") != 1:
        return None
    return ANSWER if "o" in cells else QUESTION


def read_table(path: str | Path, columns: Mapping[str, str] | None = None) -> Table:
    """Read mazes with their answers from a file of any form; a missing answer is the path that the rule chooses.

    A table is converted as a whole. Raises InputError, naming file and row, for text that is not a maze, for a goal out
    of reach, and for an answer that is not the question with a shortest path.
    """
    table, places = _read_table(path, columns)

    def require(fine: Bool[np.ndarray, " boards"], describe: Callable[[int], str]) -> None:
        if not fine.all():
            first = int(fine.argmin())
            raise InputError(f"{places[first]}: {describe(first)}")

    def describe_misplaced(i: int) -> str:
        cell = int(np.flatnonzero(changed[i])[0])
        found, given = (MAZE_CHARACTERS[boards[i].flat[cell] - 1] for boards in (answers, questions))
        allowed = f"{given!r} as in the question" + (" or 'o'" if given == " " else "")
        return f"answer: {name_cell(cell, questions.shape[-1])}: found {found!r}, expected {allowed}"

    def describe_path(i: int) -> str:
        length, shortest = np.count_nonzero(answers[i] == PATH) + 1, count_moves(questions[i : i + 1])[0]
        return f"answer: found {length - 1} cells 'o', expected a shortest path from S to G, of {shortest} moves"

    questions, answers = table.questions, table.answers

    def describe_unknown(i: int) -> str:
        cell = int(np.flatnonzero(questions[i] == PATH)[0])
        expected = "', '".join(QUESTION_CHARACTERS)
        return f"question: {name_cell(cell, questions.shape[-1])}: found 'o', expected one of '{expected}'"

    require((questions != PATH).all(axis=(1, 2)), describe_unknown)
    require(_has_ends(questions), lambda i: f"question: {_describe_ends(questions[i])}")
    missing = (answers == 0).all(axis=(1, 2))
    if missing.any():
        answers[missing] = shortest_path(questions[missing])
    changed = misplaced(questions, answers)
    require(np.logical_not(changed.any(axis=(1, 2))), describe_misplaced)
    require(count_moves(questions) > 0, lambda i: "question: found no way from S to G, expected one")
    require(is_shortest_path(questions, answers), describe_path)
    return table


def write_csv(path: str | Path, source: str, mazes: Iterable[Puzzle]) -> int:
    """Write mazes as a CSV file, gzip when its name ends in .gz; return their number."""
    return write_rows(path, source, (Row(format_maze(m.question), format_maze(m.answer), m.rating) for m in mazes))


_CODES = {c: MAZE_CHARACTERS.index(cell) + 1 for c, cell in CELLS.items()}
_ASCII_CODES = {c: code for c, code in _CODES.items() if c.isascii()}


def _read_table(path: str | Path, columns: Mapping[str, str] | None) -> tuple[Table, Sequence[str]]:
    """Read questions and answers (zeros where missing), with the places of the rows."""
    rows = read_rows(path, looks, columns)
    if rows is not None:
        length = len(rows.questions[0])
        n = math.isqrt(length)
        questions = look_up(rows.questions, length, _ASCII_CODES)
        given = rows.answers or [""] * len(rows.questions)
        # No cell of a maze has the code zero.
        answers = look_up([answer or "\0" * length for answer in given], length, _ASCII_CODES | {"\0": 0})
        if n * n == length and n >= SMALLEST and questions is not None and answers is not None:
            # Without a column of answers, each maze may be followed by its own.
            if rows.answers is not None or not (questions == PATH).any():
                boards = questions.reshape(-1, n, n), answers.reshape(-1, n, n)
                return Table(*boards, parse_ratings(rows.ratings, rows.places)), rows.places
    found = read_mazes(read_text(path), str(path), None, columns)
    n = len(found[0].question)
    for maze in found:
        for name, board in (("question", maze.question), ("answer", maze.answer)):
            if board is not None and len(board) != n:
                raise InputError(f"{maze.where}: {name}: found {len(board)}x{len(board)} cells, expected {n}x{n}")
    places = [maze.where for maze in found]
    questions = np.stack([maze.question for maze in found])
    answers = np.stack([np.zeros_like(maze.question) if maze.answer is None else maze.answer for maze in found])
    return Table(questions, answers, parse_ratings([maze.rating for maze in found], places)), places


def _encode(board: WrittenBoard) -> Board:
    n = math.isqrt(len(board))
    return np.array([MAZE_CHARACTERS.index(cell) + 1 for cell in board], np.uint8).reshape(n, n)


def _has_ends(questions: Boards) -> Bool[np.ndarray, " boards"]:
    return ((questions == START).sum(axis=(1, 2)) == 1) & ((questions == GOAL).sum(axis=(1, 2)) == 1)


def _describe_ends(question: Board) -> str:
    starts, goals = (np.count_nonzero(question == token) for token in (START, GOAL))
    return f"found {starts} cells 'S' and {goals} cells 'G', expected one of each"
