"""Puzzles in CSV files. Entry: `read_rows`, `write_rows`; `read_pairs` of a user's own kind.

The columns are source, question, answer and rating, as in the Hugging Face sets sapientinc/sudoku-extreme and
sapientinc/maze-30x30-hard-1k.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.storage.files import atomic_write

HEADER = ["source", "question", "answer", "rating"]

HIGHEST_RATING = 2**31 - 1
"""Puzzle sets store ratings in 32 bits."""

FIRST_ROW = 2
"""Number of the first row below the header, as an editor counts lines."""


class Rows(NamedTuple):
    """The columns of a CSV file; every question and answer has the same number of characters."""

    questions: list[str]
    answers: list[str]
    ratings: Integer[np.ndarray, " rows"]


class Row(NamedTuple):
    """One puzzle as text."""

    question: str
    answer: str
    rating: int


def read_rows(path: str | Path) -> Rows:
    """Read a CSV file, plain or gzip.

    Raises InputError, naming file and row, for a wrong header, number of columns, rating or length.
    """
    questions, answers, ratings = [], [], []
    for number, row in _read(path, HEADER):
        _, question, answer, rating = row
        if len(answer) != len(question) or (questions and len(question) != len(questions[0])):
            expected = len(questions[0]) if questions else len(question)
            found = f"{len(question)} and {len(answer)} characters"
            raise InputError(f"{path}: row {number}: question and answer: found {found}, expected {expected}")
        questions.append(question)
        answers.append(answer)
        ratings.append(_parse_rating(rating, f"{path}: row {number}"))
    return Rows(questions, answers, np.array(ratings))


def read_pairs(path: str | Path) -> Rows:
    """Read the columns question and answer of a CSV file, plain or gzip, and rating where there is one, else 0.

    Raises InputError, naming file and row, for a missing column and a wrong rating.
    """
    questions, answers, ratings = [], [], []
    for number, (question, answer, rating) in _read(path, ["question", "answer", "rating"], optional="rating"):
        questions.append(question)
        answers.append(answer)
        ratings.append(_parse_rating(rating or "0", f"{path}: row {number}"))
    return Rows(questions, answers, np.array(ratings))


def read_questions(path: str | Path) -> list[str]:
    """Read the column `question` of a CSV file, plain or gzip, whatever others it has; errors as by `read_rows`."""
    return [question for _, (question,) in _read(path, ["question"], others=True)]


def _parse_rating(text: str, where: str) -> int:
    # Python itself refuses to make a number of too many digits.
    if not text.isdecimal() or len(text) > len(str(HIGHEST_RATING)) or int(text) > HIGHEST_RATING:
        expected = f"a whole number up to {HIGHEST_RATING}"
        raise InputError(f"{where}: rating: found {text[:20]!r}, expected {expected}")
    return int(text)


def _read(
    path: str | Path, columns: list[str], others: bool = False, optional: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row, of these columns.

    Unless `others` or `optional`, the file has no other columns; where it lacks the optional one, its cells are empty.
    """
    path, count = Path(path), 0
    try:
        with open_text(path) as file:
            rows = csv.reader(file)
            header = next(rows, [])
            needed = [column for column in columns if column != optional]
            if not (set(needed) <= set(header) if others or optional else header == columns):
                raise InputError(f"{path}: header: found {','.join(header)!r}, expected {','.join(needed)!r}")
            places = [header.index(column) if column in header else None for column in columns]
            for count, row in enumerate(rows, start=1):
                number = count - 1 + FIRST_ROW
                if len(row) != len(header):
                    raise InputError(f"{path}: row {number}: found {len(row)} columns, expected {len(header)}")
                yield number, ["" if place is None else row[place] for place in places]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from error
    if not count:
        raise InputError(f"{path}: found no puzzles, expected at least one row")


def write_rows(path: str | Path, source: str, rows: Iterable[Row]) -> int:
    """Write puzzles as a CSV file, gzip when its name ends in .gz; return how many."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    count = 0
    for row in rows:
        count += 1
        writer.writerow([source, *row])
    data = text.getvalue().encode()
    with atomic_write(path) as temporary:
        # No time stamp inside: the same puzzles make the same file.
        temporary.write_bytes(gzip.compress(data, mtime=0) if Path(path).suffix == ".gz" else data)
    return count


def select_rows(
    ratings: Integer[np.ndarray, " rows"],
    where: str,
    min_difficulty: int | None = None,
    subsample_size: int | None = None,
    rng: np.random.Generator | np.random.RandomState | None = None,
) -> Integer[np.ndarray, " selected"]:
    """Return the rows rated at least `min_difficulty`, or `subsample_size` of them drawn without replacement.

    Raises InputError, beginning with `where`, when none is rated so.
    """
    keep = np.arange(len(ratings))
    if min_difficulty is not None:
        keep = keep[ratings >= min_difficulty]
    if not len(keep):
        raise InputError(
            f"{where}: found no puzzle rated {min_difficulty} or more, expected a minimum up to {ratings.max()}"
        )
    if rng is not None and subsample_size is not None and subsample_size < len(keep):
        keep = rng.choice(keep, subsample_size, replace=False)
    return keep


def bundled_csv(name: str) -> Path:
    """Return the path of a bundled CSV file, such as `sudoku-9x9-train.csv.gz`."""
    return Path(str(files("trm.puzzles") / "bundled" / name))


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file for reading, decompressing it when its name ends in .gz; a byte order mark is passed over."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")  # pyright: ignore[reportReturnType]
    return path.open(encoding="utf-8-sig", newline="")
