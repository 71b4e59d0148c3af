"""Sudoku of any size: rules, symmetries, a solver, a generator, and the builder of puzzle sets from CSV files.

A board is an (n, n) array of digits 1..n with 0 for a blank. Tokens are digits plus one, so that 0 is padding and 1 a
blank: vocabulary n + 2. Boxes are as square as n allows, wider than high: 2x2 for n = 4, 2x3 for 6, 3x3 for 9.
"""

import csv
import gzip
import io
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.data.puzzles import Metadata, PuzzleArrays, PuzzleSet
from trm.errors import InputError
from trm.files import replacing

HEADER = ["source", "question", "answer", "rating"]
TOKEN_OF_DIGIT_0 = 1
SIZES = (4, 6, 9)
"""Board sizes that the generator makes and that have names."""

Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]


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


# Solver


@cache
def _peers(n: int) -> tuple[tuple[int, ...], ...]:
    cells_of = units(n)
    return tuple(
        tuple(sorted({int(c) for unit in cells_of if cell in unit for c in unit} - {cell})) for cell in range(n * n)
    )


class Solutions(NamedTuple):
    """What a search found."""

    boards: list[Board]
    guesses: int
    """Cells with more than one candidate that were tried before the search ended."""


def solve(question: Board, limit: int = 2, rng: np.random.Generator | None = None) -> Solutions:
    """Search for up to `limit` solutions, always at the cell with the fewest candidates.

    Digits are tried in random order with `rng`, else from the smallest.
    """
    n = question.shape[0]
    peers = _peers(n)
    candidates = [(1 << n) - 1] * (n * n)
    cells = [0] * (n * n)
    found: list[Board] = []
    guesses = 0

    def place(cell: int, bit: int) -> list[int] | None:
        """Place a digit; return the peers that lost it, or None (and change nothing) when one has no candidate left."""
        lost = []
        for peer in peers[cell]:
            if not cells[peer] and candidates[peer] & bit:
                candidates[peer] ^= bit
                lost.append(peer)
                if not candidates[peer]:
                    for p in lost:
                        candidates[p] |= bit
                    return None
        cells[cell] = bit
        return lost

    def search() -> None:
        nonlocal guesses
        best, fewest = -1, n + 1
        for cell in range(n * n):
            if not cells[cell] and (count := candidates[cell].bit_count()) < fewest:
                best, fewest = cell, count
                if count == 1:
                    break
        if best < 0:
            found.append(np.array([bit.bit_length() for bit in cells]).reshape(n, n))
            return
        guesses += fewest > 1
        bits = [1 << d for d in range(n) if candidates[best] >> d & 1]
        for bit in rng.permutation(bits).tolist() if rng is not None else bits:
            lost = place(best, bit)
            if lost is not None:
                search()
                for peer in lost:
                    candidates[peer] |= bit
                cells[best] = 0
                if len(found) >= limit:
                    return

    for cell, digit in enumerate(question.ravel().tolist()):
        if digit:
            bit = 1 << (digit - 1)
            if not candidates[cell] & bit or place(cell, bit) is None:
                return Solutions([], 0)
    search()
    return Solutions(found, guesses)


# Generator


class Puzzle(NamedTuple):
    """One row of a CSV file."""

    question: Board
    answer: Board
    rating: int


def generate(size: int, seed: int, index: int, keep_clues: int = 0) -> Puzzle:
    """Make puzzle `index` of a seed: a random solved board, clues taken away while the solution stays unique.

    Ends at `keep_clues` clues or where no clue can be missed. The rating is the number of guesses of `solve`.
    """
    rng = np.random.default_rng((seed, size, index))
    answer = solve(np.zeros((size, size), dtype=np.int64), limit=1, rng=rng).boards[0]
    question = answer.copy()
    for cell in rng.permutation(size * size).tolist():
        if np.count_nonzero(question) <= keep_clues:
            break
        row, column = divmod(cell, size)
        question[row, column] = 0
        if len(solve(question).boards) > 1:
            question[row, column] = answer[row, column]
    return Puzzle(question, answer, solve(question, limit=1).guesses)


def generate_many(size: int, count: int, seed: int, keep_clues: int = 0, processes: int = 1) -> Iterator[Puzzle]:
    """Yield `count` different puzzles, the same for any number of processes."""
    if size not in SIZES:
        raise InputError(f"--size: found {size}, expected one of {', '.join(map(str, SIZES))}")
    seen: set[bytes] = set()
    make = partial(generate, size, seed, keep_clues=keep_clues)

    repeats = 0

    def different(puzzles: Iterable[Puzzle]) -> Iterator[Puzzle]:
        nonlocal repeats
        for puzzle in puzzles:
            if len(seen) == count:
                return
            code = puzzle.question.astype(np.uint8).tobytes()
            repeats = repeats + 1 if code in seen else 0
            if repeats > 1_000:
                raise InputError(f"--count: found {count}, expected at most about {len(seen)}: no new puzzle turned up")
            if code not in seen:
                seen.add(code)
                yield puzzle

    if processes == 1:
        yield from different(map(make, _count_from_zero()))
        return
    # Spawn: a forked child of a process with JAX's threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        start, chunk = 0, max(64, min(1024, count // processes))
        while len(seen) < count:
            yield from different(pool.map(make, range(start, start + chunk), chunksize=16))
            start += chunk


def _count_from_zero() -> Iterator[int]:
    i = 0
    while True:
        yield i
        i += 1


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
    digits = np.zeros((boards, n + 1), dtype=np.int64)
    digits[:, 1:] = _permutations(rng, boards, n) + 1
    square = box_rows == box_columns
    return Symmetries(
        digits,
        rng.random(boards) < 0.5 if square else np.zeros(boards, dtype=bool),
        _lines(rng, boards, n // box_rows, box_rows),
        _lines(rng, boards, n // box_columns, box_columns),
    )


def apply_symmetries(symmetries: Symmetries, boards: Boards) -> Boards:
    """Apply symmetry i to board i."""
    old = np.where(symmetries.transposed[:, None, None], boards.swapaxes(1, 2), boards)
    moved = np.take_along_axis(
        np.take_along_axis(old, symmetries.rows[:, :, None], axis=1), symmetries.columns[:, None, :], axis=2
    )
    flat = moved.reshape(len(boards), -1)
    return np.take_along_axis(symmetries.digits, flat, axis=1).reshape(moved.shape)


def _permutations(rng: np.random.Generator, count: int, n: int) -> Integer[np.ndarray, "count n"]:
    return rng.permuted(np.broadcast_to(np.arange(n), (count, n)), axis=1)


def _lines(rng: np.random.Generator, boards: int, bands: int, per_band: int) -> Integer[np.ndarray, "boards n"]:
    """Permute the bands, and the lines within each band."""
    order = _permutations(rng, boards, bands)
    within = _permutations(rng, boards * bands, per_band).reshape(boards, bands, per_band)
    return (order[:, :, None] * per_band + within).reshape(boards, -1)


# CSV files


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
    path = Path(path)
    questions, answers, ratings = [], [], []
    try:
        with open_text(path) as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != HEADER:
                raise InputError(f"{path}: header: found {','.join(header)!r}, expected {','.join(HEADER)!r}")
            for number, row in enumerate(rows, start=2):
                if len(row) != len(HEADER):
                    raise InputError(f"{path}: row {number}: found {len(row)} columns, expected {len(HEADER)}")
                _, question, answer, rating = row
                if not rating.isdigit():
                    raise InputError(f"{path}: row {number}: rating: found {rating!r}, expected a whole number")
                if len(answer) != len(question) or (questions and len(question) != len(questions[0])):
                    expected = len(questions[0]) if questions else len(question)
                    found = f"{len(question)} and {len(answer)} characters"
                    raise InputError(f"{path}: row {number}: question and answer: found {found}, expected {expected}")
                questions.append(question)
                answers.append(answer)
                ratings.append(int(rating))
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from error
    if not questions:
        raise InputError(f"{path}: found no puzzles, expected at least one row")
    table = Table(_parse_boards(path, "question", questions), _parse_boards(path, "answer", answers), np.array(ratings))
    broken = np.flatnonzero(~obeys_rules(table.questions, table.answers))
    if len(broken):
        raise InputError(
            f"{path}: row {broken[0] + 2}: answer: found a digit that changes a clue or stands twice in a row, column "
            f"or box, expected a solution of the question"
        )
    return table


def write_csv(path: str | Path, source: str, puzzles: Iterable[Puzzle]) -> int:
    """Write puzzles as a CSV file, gzip when its name ends in .gz; return how many."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    count = 0
    for puzzle in puzzles:
        count += 1
        rows.writerow([source, format_board(puzzle.question), format_board(puzzle.answer), puzzle.rating])
    data = text.getvalue().encode()
    with replacing(path) as temporary:
        # No time stamp inside: the same puzzles make the same file.
        temporary.write_bytes(gzip.compress(data, mtime=0) if Path(path).suffix == ".gz" else data)
    return count


def bundled_csv(name: str) -> Path:
    """Return the path of a CSV file that comes with the package, such as `sudoku-9x9-train.csv.gz`."""
    return Path(str(files("trm.data") / "bundled" / name))


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file for reading, decompressing it when its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")  # pyright: ignore[reportReturnType]
    return path.open(encoding="utf-8", newline="")


def _parse_boards(path: Path, column: str, texts: list[str]) -> Boards:
    # The slow, careful parser names the first bad row; the fast one reads millions that are good.
    n = parse_board(texts[0], f"{path}: row 2: {column}").shape[0]
    characters = np.frombuffer("".join(texts).encode("utf-8", "replace").replace(b".", b"0"), dtype=np.uint8)
    digits = characters - ord("0")
    if len(digits) != len(texts) * n * n or (digits > n).any():
        for row, text in enumerate(texts, start=2):
            parse_board(text, f"{path}: row {row}: {column}")
        raise InputError(f"{path}: {column}: found white space in a board, expected {n * n} cells")
    return digits.reshape(len(texts), n, n)


# Builder


def build(
    table: Table,
    num_aug: int,
    draw: Callable[[int], Symmetries],
) -> PuzzleArrays:
    """Turn puzzles into arrays, each followed by `num_aug` augmentations of itself; together they are one group.

    `draw(boards)` draws symmetries: one call for all augmentations, those of the first puzzle first.
    """
    count, n, _ = table.questions.shape
    copies = 1 + num_aug
    cells = n * n

    symmetries = draw(count * num_aug) if num_aug else None

    def augmented(boards: Boards) -> np.ndarray:
        tokens = np.empty((count, copies, cells), dtype=np.uint8)
        tokens[:, 0] = boards.reshape(count, cells)
        if symmetries is not None:
            tokens[:, 1:] = apply_symmetries(symmetries, np.repeat(boards, num_aug, axis=0)).reshape(count, num_aug, -1)
        return tokens.reshape(count * copies, cells) + np.uint8(TOKEN_OF_DIGIT_0)

    return PuzzleArrays(
        inputs=augmented(table.questions),
        labels=augmented(table.answers),
        puzzle_identifiers=np.zeros(count * copies, dtype=np.int32),
        puzzle_indices=np.arange(count * copies + 1, dtype=np.int32),
        group_indices=np.arange(count + 1, dtype=np.int32) * copies,
    )


def build_split(
    name: str,
    table: Table,
    rng: np.random.Generator,
    num_aug: int = 0,
) -> PuzzleSet:
    """Build one split from puzzles, augmentations drawn from `rng`."""
    n = table.questions.shape[-1]
    arrays = build(table, num_aug, lambda boards: draw_symmetries(rng, boards, n))
    return PuzzleSet(name, metadata_of(len(table.questions), n), {"all": arrays})


def metadata_of(puzzles: int, n: int) -> Metadata:
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
    )


def select(
    table: Table,
    where: str,
    min_difficulty: int | None = None,
    subsample_size: int | None = None,
    rng: np.random.Generator | np.random.RandomState | None = None,
) -> Table:
    """Keep puzzles rated at least `min_difficulty`, then `subsample_size` of them drawn without replacement."""
    keep = np.arange(len(table.ratings))
    if min_difficulty is not None:
        keep = keep[table.ratings >= min_difficulty]
    if not len(keep):
        highest = table.ratings.max()
        raise InputError(f"{where}: found no puzzle rated {min_difficulty} or more, expected a minimum up to {highest}")
    if rng is not None and subsample_size is not None and subsample_size < len(keep):
        keep = rng.choice(keep, subsample_size, replace=False)
    return Table(*(column[keep] for column in table))


def board_size(metadata: Metadata) -> int | None:
    """Return n when the metadata describes n x n Sudokus, else None."""
    n = math.isqrt(metadata.seq_len)
    return n if n * n == metadata.seq_len and metadata.vocab_size == n + 2 else None
