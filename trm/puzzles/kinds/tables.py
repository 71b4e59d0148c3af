"""Tables: the puzzles of one split before they become a puzzle set. Entry: `Table`, `select`, `describe_split`."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.csv_files import HIGHEST_RATING, select_rows
from trm.puzzles.metadata import Metadata


class Puzzle(NamedTuple):
    """A puzzle with its answer."""

    question: Integer[np.ndarray, "..."]
    answer: Integer[np.ndarray, "..."]
    rating: int
    """Difficulty, in the unit of the source."""


class Table(NamedTuple):
    """Puzzles with their answers: boards of Sudoku digits, boards of maze tokens, or flat tokens of other kinds."""

    questions: Integer[np.ndarray, "puzzles ..."]
    answers: Integer[np.ndarray, "puzzles ..."]
    ratings: Integer[np.ndarray, " puzzles"]

    @staticmethod
    def of(puzzles: Iterable[Puzzle]) -> "Table":
        """Return a table of at least one puzzle."""
        return Table(*(np.array(column) for column in zip(*puzzles, strict=True)))

    def rows(self, rows: slice | Integer[np.ndarray, " rows"]) -> "Table":
        """Return some of the puzzles."""
        return Table(*(column[rows] for column in self))


def select(
    table: Table,
    where: str,
    min_difficulty: int | None = None,
    subsample_size: int | None = None,
    rng: np.random.Generator | np.random.RandomState | None = None,
) -> Table:
    """Keep puzzles rated at least `min_difficulty`, then `subsample_size` of them drawn without replacement."""
    return table.rows(select_rows(table.ratings, where, min_difficulty, subsample_size, rng))


def parse_ratings(texts: Sequence[str] | None, places: Sequence[str]) -> Integer[np.ndarray, " puzzles"]:
    """Return ratings, rounded to whole numbers; 0 where there is none, and where all are words, such as `easy`.

    Raises InputError, naming the place, for text that is not a number and for one that is too large.
    """
    if texts is None or not any(character.isdigit() for text in texts for character in text):
        return np.zeros(len(places), np.int64)
    numbers = np.array([_rating(text) for text in texts])
    fine = (numbers >= 0) & (numbers <= HIGHEST_RATING)
    if not fine.all():
        first = int(fine.argmin())
        expected = f"a number up to {HIGHEST_RATING}"
        raise InputError(f"{places[first]}: rating: found {texts[first][:20]!r}, expected {expected}")
    return np.rint(numbers).astype(np.int64)


def _rating(text: str) -> float:
    """Return a rating, 0 for white space and NaN for what is no number."""
    try:
        return float(text) if text.strip() else 0.0
    except ValueError:
        return math.nan


Index = Integer[np.ndarray, "..."]


def indices_of_single_examples(groups: int, copies: int) -> tuple[Index, Index, Index]:
    """Return identifiers and bounds of groups of `copies` puzzles with one example each; all identifiers are blank."""
    puzzles = groups * copies
    return (
        np.zeros(puzzles, dtype=np.int32),
        np.arange(puzzles + 1, dtype=np.int32),
        np.arange(groups + 1, dtype=np.int32) * copies,
    )


def describe_split(
    kind: str, groups: int, vocab_size: int, seq_len: int, online_augmentation: bool = False
) -> Metadata:
    """Describe a split of puzzles with one example each; like the original, it counts groups as puzzles."""
    return Metadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=vocab_size,
        seq_len=seq_len,
        num_puzzle_identifiers=1,
        total_groups=groups,
        mean_puzzle_examples=1.0,
        total_puzzles=groups,
        sets=["all"],
        kind=kind,
        online_augmentation=online_augmentation,
    )
