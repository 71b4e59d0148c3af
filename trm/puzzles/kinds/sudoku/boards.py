"""Sudoku of any size: rules, symmetries, puzzles as text, and the builder of puzzle sets from CSV files.

A board is an (n, n) array of digits 1..n with 0 for a blank. Tokens are digits plus one, so that 0 is padding and 1 a
blank: vocabulary n + 2. Boxes are as square as n allows, wider than high: 2x2 for n = 4, 2x3 for 6, 3x3 for 9.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW, Row, read_rows, select_rows, write_rows
from trm.puzzles.metadata import INDICES, RATINGS, Metadata, PuzzleArrays, PuzzleSet
from trm.puzzles.writing import TokenFiles, write_field, write_metadata

TOKEN_OF_DIGIT_0 = 1
Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]
Tokens = Integer[np.ndarray, "examples cells"]


def box_shape(n: int) -> tuple[int, int]:
    """Return (rows, columns) of a box on an n x n board."""
    rows = max(r for r in range(1, math.isqrt(n) + 1) if n % r == 0)
    return rows, n // rows


# Rules


@cache
def units(n: int) -> Integer[np.ndarray, "units n"]:
    """Return the cells, by flat index, of every row, column and box."""
    cells = np.arange(n * n).reshape(n, n)
    rows, columns = box_shape(n)
    boxes = cells.reshape(n // rows, rows, n // columns, columns).swapaxes(1, 2).reshape(n, n)
    return np.concatenate([cells, cells.T, boxes])


def obeys_rules(questions: Boards, answers: Boards) -> Bool[np.ndarray, " boards"]:
    """Say of each answer whether it keeps the clues and has every digit once in every row, column and box."""
    n = answers.shape[-1]
    flat = answers.reshape(len(answers), n * n)
    complete = (np.sort(flat[:, units(n)], axis=-1) == np.arange(1, n + 1)).all(axis=(1, 2))
    return complete & ((questions == 0) | (questions == answers)).all(axis=(1, 2))


# Symmetries


class Symmetries(NamedTuple):
    """One symmetry of Sudoku per board: `new[i, j] = digits[old[rows[i], columns[j]]]`, transposed first if so."""

    digits: Integer[np.ndarray, "boards digits"]
    """New digit of each digit; 0, the blank, stays."""
    transposed: Bool[np.ndarray, " boards"]
    rows: Integer[np.ndarray, "boards n"]
    columns: Integer[np.ndarray, "boards n"]


def draw_symmetries(rng: np.random.Generator, boards: int, n: int) -> Symmetries:
    """Draw uniformly: digits, transposition (where boxes are square), bands, rows, stacks, columns."""
    box_rows, box_columns = box_shape(n)
    digits = np.zeros((boards, n + 1), dtype=np.uint8)
    digits[:, 1:] = rng.permuted(np.broadcast_to(np.arange(1, n + 1, dtype=np.uint8), (boards, n)), axis=1)
    square = box_rows == box_columns
    rows, columns = _line_orders(n // box_rows, box_rows), _line_orders(n // box_columns, box_columns)
    return Symmetries(
        digits,
        rng.random(boards) < 0.5 if square else np.zeros(boards, dtype=bool),
        rows[rng.integers(len(rows), size=boards)],
        columns[rng.integers(len(columns), size=boards)],
    )


def source_cells(symmetries: Symmetries) -> Integer[np.ndarray, "boards cells"]:
    """Return, for each place on each board, the flat index of the cell that comes to it."""
    count, n = symmetries.rows.shape
    first, second = symmetries.rows[:, :, None], symmetries.columns[:, None, :]
    cells = np.where(symmetries.transposed[:, None, None], n * second + first, n * first + second)
    return cells.reshape(count, n * n)


def apply_symmetries(symmetries: Symmetries, boards: Boards) -> Boards:
    """Apply symmetry i to board i."""
    count, n, _ = boards.shape
    start = np.arange(count)[:, None]
    relabelled = symmetries.digits.ravel().take(boards.reshape(count, n * n) + start * (n + 1))
    return relabelled.ravel().take(source_cells(symmetries) + start * (n * n)).reshape(boards.shape)


@cache
def _line_orders(bands: int, per_band: int) -> Integer[np.ndarray, "orders n"]:
    """List every order of the lines that permutes the bands and the lines within each band."""
    within = list(itertools.permutations(range(per_band)))
    return np.array(
        [
            [band * per_band + line for band, lines in zip(order, choice, strict=True) for line in lines]
            for order in itertools.permutations(range(bands))
            for choice in itertools.product(within, repeat=bands)
        ],
        dtype=np.uint8,
    )


# Puzzles as text


class Puzzle(NamedTuple):
    """A puzzle with its answer."""

    question: Board
    answer: Board
    rating: int


class Table(NamedTuple):
    """The puzzles of a CSV file."""

    questions: Boards
    answers: Boards
    ratings: Integer[np.ndarray, " boards"]


def parse_board(text: str, where: str) -> Board:
    """Read a board written row by row: digits, and '.' or 0 for a blank; white space is skipped.

    Raises InputError, beginning with `where`, for a length that is no square and for a character out of place.
    """
    compact = "".join(text.split())
    n = math.isqrt(len(compact))
    if n * n != len(compact) or not 4 <= n <= 9:
        raise InputError(f"{where}: found {len(compact)} cells, expected 16, 36 or 81 (n x n)")
    for position, character in enumerate(compact):
        if not (character == "." or (character.isascii() and character.isdigit() and int(character) <= n)):
            raise InputError(
                f"{where}: cell {position + 1} (row {position // n + 1}, column {position % n + 1}): "
                f"found {character!r}, expected 1 to {n}, or . for a blank"
            )
    return np.array([0 if c == "." else int(c) for c in compact]).reshape(n, n)


def format_board(board: Board) -> str:
    """Write a board row by row, '.' for a blank; `parse_board` undoes it."""
    return "".join("." if digit == 0 else str(digit) for digit in board.ravel().tolist())


def read_csv(path: str | Path) -> Table:
    """Read puzzles from a CSV file, plain or gzip, with the columns source, question, answer, rating.

    Raises InputError, naming file and row, for a wrong header, length or character, and for an answer that changes a
    clue or breaks the rules.
    """
    rows = read_rows(path)
    table = Table(
        _parse_boards(path, "question", rows.questions), _parse_boards(path, "answer", rows.answers), rows.ratings
    )
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


def _parse_boards(path: str | Path, column: str, texts: list[str]) -> Boards:
    # The slow, careful parser names the first bad row; the fast one reads millions that are good.
    n = parse_board(texts[0], f"{path}: row {FIRST_ROW}: {column}").shape[0]
    characters = np.frombuffer("".join(texts).encode("utf-8", "replace").replace(b".", b"0"), dtype=np.uint8)
    digits = characters - ord("0")
    if len(digits) != len(texts) * n * n or (digits > n).any():
        for row, text in enumerate(texts, start=FIRST_ROW):
            parse_board(text, f"{path}: row {row}: {column}")
            if len(text) != n * n:
                raise InputError(f"{path}: row {row}: {column}: found white space in a board, expected {n * n} cells")
    return digits.reshape(len(texts), n, n)


# Builder


Draw = Callable[[int], Symmetries]
"""Draws symmetries for so many boards. It is called for all augmentations of the first puzzles, then of the next."""


def build(table: Table, num_aug: int, draw: Draw) -> PuzzleArrays:
    """Turn puzzles into arrays, each followed by `num_aug` augmentations of itself; together they are one group."""
    inputs, labels = (np.concatenate(chunks) for chunks in zip(*_augment(table, num_aug, draw), strict=True))
    return PuzzleArrays(inputs, labels, *_indices(len(table.questions), 1 + num_aug), ratings=table.ratings)


def write_split(folder: Path, table: Table, metadata: Metadata, num_aug: int, draw: Draw) -> None:
    """Write what `build` makes, a few puzzles at a time, as one split of a new puzzle set."""
    copies = 1 + num_aug
    (name,) = metadata.sets
    write_metadata(folder, metadata)
    for field, array in zip(INDICES, _indices(len(table.questions), copies), strict=True):
        write_field(folder, name, field, array)
    write_field(folder, name, RATINGS, table.ratings)
    files = TokenFiles.create(folder, name, len(table.questions) * copies, metadata.seq_len)
    first = 0
    for inputs, labels in _augment(table, num_aug, draw):
        files.write(first, inputs, labels)
        first += len(inputs)


_CHUNK = 4096
"""Boards that are rearranged at a time: few enough to stay in a core's cache."""


def _augment(table: Table, num_aug: int, draw: Draw) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield inputs and labels of the first puzzles with their augmentations, then of the next."""
    count, n, _ = table.questions.shape
    puzzles = max(1, _CHUNK // (1 + num_aug))
    for start in range(0, count, puzzles):
        part = slice(start, min(start + puzzles, count))
        size = part.stop - part.start
        symmetries = draw(size * num_aug) if num_aug else None

        def augmented(boards: Boards, size: int = size, symmetries: Symmetries | None = symmetries) -> Tokens:
            tokens = np.empty((size, 1 + num_aug, n, n), dtype=np.uint8)
            tokens[:, 0] = boards
            if symmetries is not None:
                more = apply_symmetries(symmetries, np.repeat(boards, num_aug, axis=0))
                tokens[:, 1:] = more.reshape(size, num_aug, n, n)
            return tokens.reshape(-1, n * n) + np.uint8(TOKEN_OF_DIGIT_0)

        yield augmented(table.questions[part]), augmented(table.answers[part])


def _indices(groups: int, copies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return identifiers and bounds of puzzles with one example each, so many of them to a group."""
    puzzles = groups * copies
    return (
        np.zeros(puzzles, dtype=np.int32),
        np.arange(puzzles + 1, dtype=np.int32),
        np.arange(groups + 1, dtype=np.int32) * copies,
    )


def build_split(
    name: str, table: Table, rng: np.random.Generator, num_aug: int = 0, online_augmentation: bool = False
) -> PuzzleSet:
    """Build one split from puzzles, augmentations drawn from `rng`, or by the loader with `online_augmentation`."""
    count, n, _ = table.questions.shape
    arrays = build(table, num_aug, partial(draw_symmetries, rng, n=n))
    arrays = dataclasses.replace(arrays, online_augmentation=online_augmentation)
    return PuzzleSet(name, metadata_of(count, n, online_augmentation), {"all": arrays})


def metadata_of(puzzles: int, n: int, online_augmentation: bool = False) -> Metadata:
    """Describe a split of n x n Sudokus; like the original, it counts groups as puzzles."""
    return Metadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=n + 2,
        seq_len=n * n,
        num_puzzle_identifiers=1,
        total_groups=puzzles,
        mean_puzzle_examples=1.0,
        total_puzzles=puzzles,
        sets=["all"],
        kind="sudoku",
        online_augmentation=online_augmentation,
    )


def select(
    table: Table,
    where: str,
    min_difficulty: int | None = None,
    subsample_size: int | None = None,
    rng: np.random.Generator | np.random.RandomState | None = None,
) -> Table:
    """Keep puzzles rated at least `min_difficulty`, then `subsample_size` of them drawn without replacement."""
    keep = select_rows(table.ratings, where, min_difficulty, subsample_size, rng)
    return Table(*(column[keep] for column in table))
