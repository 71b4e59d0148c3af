"""Puzzles in CSV files. Entry: `read_rows`, `write_rows`.

`write_rows` writes the columns source, question, answer and rating, as in the Hugging Face sets
sapientinc/sudoku-extreme and sapientinc/maze-30x30-hard-1k; `read_rows` reads tables with any columns.
"""

import csv
import dataclasses
import gzip
import io
import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.text.columns import Looks, below_titles, find_layout, without_remarks
from trm.puzzles.text.decode import normalise, open_text
from trm.storage.files import atomic_write

HEADER = ["source", "question", "answer", "rating"]

HIGHEST_RATING = 2**31 - 1
"""Largest rating: puzzle sets store ratings in 32 bits."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The columns of a table as text."""

    path: str
    questions: list[str]
    answers: list[str] | None
    ratings: list[str] | None
    numbers: list[int]
    """Line number of each row, from 1."""

    @property
    def places(self) -> "Places":
        """The place of each row, for messages."""
        return Places(self.path, self.numbers)


class Places(Sequence[str]):
    """Places of rows, formatted on demand: there may be millions."""

    def __init__(self, path: str, numbers: Sequence[int]) -> None:
        self.path, self.numbers = path, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        return f"{self.path}: row {self.numbers[i]}"


class Row(NamedTuple):
    """One puzzle as text."""

    question: str
    answer: str
    rating: int


def read_rows(path: str | Path, looks: Looks, columns: Mapping[str, str] | None = None) -> Rows | None:
    """Read a table of whole boards, plain or gzip, of any encoding, delimiter, header and order of columns.

    `looks` tells whether a field is a board; `columns` are a user's names of the columns. Returns None when the file is
    not a table. Raises InputError, naming file and row, for another number of columns, and for a table without rows.
    """
    rows = Rows(str(path), [], [], [], [])
    count = 0
    try:
        with open_text(path) as file:
            start = list(itertools.islice(file, _SAMPLE))
            start = start if columns else without_remarks(start)
            texts = [normalise(line).rstrip("\n") for line in start]
            layout = find_layout(texts, looks, columns, str(path))
            if layout is None and (below := below_titles(texts)) != texts:
                layout = find_layout(below, looks, columns, str(path))
                start = [line if text else "" for line, text in zip(start, below, strict=True)]
            if layout is None:
                return None
            reader = csv.reader(itertools.chain(start, file), delimiter=layout.delimiter)
            skip = layout.header is not None
            for row in reader:
                if not row or skip or not any(field.strip() for field in row):
                    skip = skip and not any(row)
                    continue
                count += 1
                if len(row) != layout.width:
                    where = f"{path}: row {reader.line_num}"
                    raise InputError(f"{where}: found {len(row)} columns, expected {layout.width}")
                rows.numbers.append(reader.line_num)
                rows.questions.append(row[layout.question])
                if layout.answer is not None and rows.answers is not None:
                    rows.answers.append(row[layout.answer])
                if layout.rating is not None and rows.ratings is not None:
                    rows.ratings.append(row[layout.rating])
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from error
    if not count:
        raise InputError(f"{path}: found no puzzles, expected at least one row")
    answers, ratings = (
        None if place is None else list_
        for place, list_ in ((layout.answer, rows.answers), (layout.rating, rows.ratings))
    )
    return dataclasses.replace(rows, answers=answers, ratings=ratings)


_SAMPLE = 30
"""Lines that show how a table is written."""


def write_rows(path: str | Path, source: str, rows: Iterable[Row]) -> int:
    """Write puzzles as a CSV file, gzip when its name ends in .gz; return their number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    count = 0
    for row in rows:
        count += 1
        writer.writerow([source, *row])
    data = text.getvalue().encode()
    with atomic_write(path) as temporary:
        # No time stamp: equal puzzles give equal files.
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

    Raises InputError, beginning with `where`, when no row is rated so high.
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
