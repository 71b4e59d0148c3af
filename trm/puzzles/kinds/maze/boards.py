"""Mazes on a square board: rules, labels, symmetries, and the builder of puzzle sets from CSV files.

A board is an (n, n) array of tokens: 1 to 5 for wall, free, start, goal and path, written `# SGo`; 0 is padding. A
question has one start, one goal and no path; its answer is the question with path on the inner cells of one shortest
path, in moves up, down, left and right. Random mazes have very many shortest paths: the label is the one that from the
start always takes the first of up, down, left, right that lies on a shortest path.
"""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW, Row, read_rows, select_rows, write_rows
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.metadata import MAZE_CHARACTERS, Metadata, PuzzleArrays, PuzzleSet

WALL, FREE, START, GOAL, PATH = range(1, len(MAZE_CHARACTERS) + 1)
SMALLEST = 5
"""Side of the smallest board; 4 x 4 has the size and vocabulary of a Sudoku."""

Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]

Labels = Literal["recompute", "rotate"]
"""What a copy is labelled with: the path that the rule chooses on it, or the given answer, rotated with the maze."""


# Paths
#
# All boards lie behind one another in one flat array, every row and every board followed by cells that are no way: a
# step is an addition, and one off the board ends on such a cell (one off the first board on the last cells of all).


def _flatten(boards: Boards, outside: int) -> Integer[np.ndarray, " cells"]:
    return np.pad(boards, ((0, 0), (0, 1), (0, 1)), constant_values=outside).ravel()


def _unflatten(cells: Num[np.ndarray, " cells"], n: int) -> Num[np.ndarray, "boards n n"]:
    return cells.reshape(-1, n + 1, n + 1)[:, :n, :n]


def _steps(n: int) -> Integer[np.ndarray, "4"]:
    """Return what up, down, left and right add to the index of a cell."""
    return np.array([-(n + 1), n + 1, -1, 1])


def distances(boards: Boards, from_token: int) -> Boards:
    """Count the moves to each cell from the nearest one with a token; -1 where there is no way."""
    n = boards.shape[-1]
    unreached, blocked = -1, -2
    found = _flatten(np.where(boards > WALL, np.int32(unreached), np.int32(blocked)), blocked)
    front, moves = np.flatnonzero(_flatten(boards, WALL) == from_token), 0
    found[front] = moves
    while len(front):
        moves += 1
        waves = []
        # One direction after the other, so that no cell is entered twice.
        for step in _steps(n):
            cells = front + step
            cells = cells[found[cells] == unreached]
            found[cells] = moves
            waves.append(cells)
        front = np.concatenate(waves)
    return np.maximum(_unflatten(found, n), -1)


def count_moves(boards: Boards) -> Integer[np.ndarray, " boards"]:
    """Count the moves of a shortest path from start to goal on each board; -1 where there is none."""
    return np.where(boards == GOAL, distances(boards, START), -1).max(axis=(1, 2))


def _count_ways(moves: Integer[np.ndarray, " cells"], n: int) -> Float[np.ndarray, " cells"]:
    """Count the shortest paths to each cell from where the moves to it were counted."""
    order = np.argsort(moves, kind="stable")
    order = order[np.searchsorted(moves[order], 0) :]
    ways = np.zeros(len(moves))
    ends = np.flatnonzero(np.diff(moves[order], append=-1)) + 1
    for start, end in pairwise([0, *ends]):
        cells = order[start:end]
        before = cells[:, None] + _steps(n)
        nearer = moves[before] == moves[cells, None] - 1
        ways[cells] = np.where(nearer, ways[before], 0).sum(axis=1) if start else 1
    return ways


def count_shortest_paths(questions: Boards) -> Float[np.ndarray, " boards"]:
    """Count the shortest paths from start to goal of each maze; there may be more than 64-bit integers can count."""
    n = questions.shape[-1]
    ways = _count_ways(_flatten(distances(questions, START), -1), n)
    return np.where(questions == GOAL, _unflatten(ways, n), 0).sum(axis=(1, 2))


def shortest_path(questions: Boards, rng: np.random.Generator | None = None) -> Boards:
    """Answer mazes: from the start take always the first of up, down, left, right that lies on a shortest path.

    With `rng` take each shortest path with the same probability instead. A maze without any stays as it is.
    """
    n = questions.shape[-1]
    answers = _flatten(questions, WALL)
    ahead = _flatten(distances(questions, GOAL), -1)
    weights = np.ones(len(ahead)) if rng is None else _count_ways(ahead, n)
    cells = np.flatnonzero(answers == START)
    while len(cells := cells[ahead[cells] > 1]):
        choices = cells[:, None] + _steps(n)
        nearer = ahead[choices] == ahead[cells, None] - 1
        sums = np.cumsum(np.where(nearer, weights[choices], 0), axis=1)
        drawn = sums[:, -1] * (0 if rng is None else rng.random(len(cells)))
        cells = np.take_along_axis(choices, (sums > drawn[:, None]).argmax(axis=1)[:, None], axis=1)[:, 0]
        answers[cells] = PATH
    return _unflatten(answers, n)


def is_shortest_path(questions: Boards, answers: Boards) -> Bool[np.ndarray, " boards"]:
    """Say of each answer, whatever its tokens, whether it is the question with one of its shortest paths."""
    length = (answers == PATH).sum(axis=(1, 2)) + 1
    alone = np.where(answers >= START, answers, WALL)
    # Cells that lead from start to goal, and no more of them than that takes, are a path.
    return (
        ~_misplaced(questions, answers).any(axis=(1, 2))
        & (count_moves(alone) == length)
        & (count_moves(questions) == length)
    )


def _misplaced(questions: Boards, answers: Boards) -> Bool[np.ndarray, "boards n n"]:
    """Say where an answer differs from its question otherwise than by path on a free cell."""
    return (answers != questions) & ~((answers == PATH) & (questions == FREE))


# Mazes as text


class Maze(NamedTuple):
    """A maze with its answer."""

    question: Board
    answer: Board
    rating: int
    """Moves from start to goal."""


class Table(NamedTuple):
    """The mazes of a CSV file."""

    questions: Boards
    answers: Boards
    ratings: Integer[np.ndarray, " boards"]


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
        row, column = np.argwhere(misplaced[i])[0].tolist()
        found, given = (MAZE_CHARACTERS[boards[i, row, column] - 1] for boards in (answers, questions))
        allowed = f"{given!r} as in the question" + (" or 'o'" if given == " " else "")
        return f"answer: {_name_cell(row, column, questions.shape[-1])}: found {found!r}, expected {allowed}"

    def describe_path(i: int) -> str:
        length, shortest = np.count_nonzero(answers[i] == PATH) + 1, count_moves(questions[i : i + 1])[0]
        return f"answer: found {length - 1} cells 'o', expected a shortest path from S to G, of {shortest} moves"

    require(_has_ends(questions), lambda i: f"question: {_describe_ends(questions[i])}")
    misplaced = _misplaced(questions, answers)
    require(np.logical_not(misplaced.any(axis=(1, 2))), describe_misplaced)
    require(count_moves(questions) > 0, lambda i: "question: found no way from S to G, expected one")
    require(is_shortest_path(questions, answers), describe_path)
    return Table(questions, answers, rows.ratings)


def write_csv(path: str | Path, source: str, mazes: Iterable[Maze]) -> int:
    """Write mazes as a CSV file, gzip when its name ends in .gz; return how many."""
    return write_rows(path, source, (Row(format_maze(m.question), format_maze(m.answer), m.rating) for m in mazes))


def _parse_cells(text: str, where: str, characters: str) -> Board:
    compact = text.replace("\r", "").replace("\n", "")
    n = math.isqrt(len(compact))
    if n * n != len(compact) or n < SMALLEST:
        raise InputError(f"{where}: found {len(compact)} cells, expected n x n of them, such as 900 for 30 x 30")
    for position, character in enumerate(compact):
        if character not in characters:
            cell = _name_cell(*divmod(position, n), n)
            expected = ", ".join(map(repr, characters))
            raise InputError(f"{where}: {cell}: found {character!r}, expected one of {expected}")
    return np.array([MAZE_CHARACTERS.index(c) + 1 for c in compact], np.uint8).reshape(n, n)


def _name_cell(row: int, column: int, n: int) -> str:
    return f"cell {row * n + column + 1} (row {row + 1}, column {column + 1})"


def _has_ends(questions: Boards) -> Bool[np.ndarray, " boards"]:
    return ((questions == START).sum(axis=(1, 2)) == 1) & ((questions == GOAL).sum(axis=(1, 2)) == 1)


def _describe_ends(question: Board) -> str:
    starts, goals = (np.count_nonzero(question == token) for token in (START, GOAL))
    return f"found {starts} cells 'S' and {goals} cells 'G', expected one of each"


def _parse_column(path: str | Path, column: str, texts: list[str], characters: str) -> Boards:
    # The slow, careful parser measures the first row and names the first bad cell; the fast one reads the rest.
    n = _parse_cells(texts[0], f"{path}: row {FIRST_ROW}: {column}", characters).shape[0]
    if len(texts[0]) != n * n:
        raise InputError(f"{path}: row {FIRST_ROW}: {column}: found a line break in a maze, expected {n * n} cells")
    token_of = np.zeros(256, np.uint8)
    token_of[[ord(c) for c in characters]] = np.arange(1, len(characters) + 1)
    boards = token_of[np.frombuffer("".join(texts).encode("latin-1", "replace"), np.uint8)].reshape(-1, n, n)
    bad = (boards == 0).any(axis=(1, 2))
    if bad.any():
        row = int(bad.argmax())
        _parse_cells(texts[row], f"{path}: row {row + FIRST_ROW}: {column}", characters)
        raise InputError(f"{path}: row {row + FIRST_ROW}: {column}: found a line break in a maze")
    return boards


# Builder


def build(table: Table, augment: bool, labels: Labels) -> PuzzleArrays:
    """Turn mazes into arrays; with `augment` a group is a maze in all its rotations and reflections, itself first."""
    count, n, _ = table.questions.shape
    copies = TRANSFORMS if augment else 1

    def augmented(boards: Boards) -> Integer[np.ndarray, "copies n n"]:
        return np.stack([transform(boards, t) for t in range(copies)], axis=1).reshape(count * copies, n, n)

    inputs = augmented(table.questions)
    answers = shortest_path(inputs) if labels == "recompute" else augmented(table.answers)
    return PuzzleArrays(
        inputs=inputs.reshape(-1, n * n),
        labels=answers.reshape(-1, n * n),
        puzzle_identifiers=np.zeros(count * copies, dtype=np.int32),
        puzzle_indices=np.arange(count * copies + 1, dtype=np.int32),
        group_indices=np.arange(count + 1, dtype=np.int32) * copies,
        ratings=table.ratings,
    )


def build_split(name: str, table: Table, augment: bool = False, labels: Labels = "recompute") -> PuzzleSet:
    """Build one split from mazes."""
    groups, n, _ = table.questions.shape
    return PuzzleSet(name, metadata_of(groups, n), {"all": build(table, augment, labels)})


def metadata_of(groups: int, n: int) -> Metadata:
    """Describe a split of n x n mazes; like the original, it counts groups as puzzles."""
    return Metadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=len(MAZE_CHARACTERS) + 1,
        seq_len=n * n,
        num_puzzle_identifiers=1,
        total_groups=groups,
        mean_puzzle_examples=1.0,
        total_puzzles=groups,
        sets=["all"],
        kind="maze",
    )


def select(
    table: Table,
    where: str,
    min_difficulty: int | None = None,
    subsample_size: int | None = None,
    rng: np.random.Generator | np.random.RandomState | None = None,
) -> Table:
    """Keep mazes rated at least `min_difficulty`, then `subsample_size` of them drawn without replacement."""
    keep = select_rows(table.ratings, where, min_difficulty, subsample_size, rng)
    return Table(*(column[keep] for column in table))
