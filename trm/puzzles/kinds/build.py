"""Building puzzle sets of any kind from files of text. Entry: `read_table`, `build_split`, `count_repeats`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.csv_files import read_rows
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.tables import Table, describe_split, indices_of_single_examples, parse_ratings
from trm.puzzles.kinds.text import parse_column


def read_table(kind: PuzzleKind, path: str | Path) -> Table:
    """Read puzzles as tokens from a CSV file, plain or gzip, with the columns question and answer, perhaps rating.

    Raises InputError, naming file and row, for a text that is not a puzzle, for puzzles of several lengths, and for an
    answer that does not solve its question.
    """
    rows = read_rows(path, lambda field: None)
    if rows is None or rows.answers is None:
        raise InputError(f"{path}: header: found no columns of these names, expected question and answer")
    table = Table(
        parse_column(rows.places, "question", rows.questions, kind.parse),
        parse_column(rows.places, "answer", rows.answers, kind.parse_answer),
        parse_ratings(rows.ratings, rows.places),
    )
    if table.questions.shape != table.answers.shape:
        found = f"{table.questions.shape[1]} and {table.answers.shape[1]} cells"
        raise InputError(f"{path}: question and answer: found {found}, expected equal numbers")
    wrong = np.flatnonzero(~kind.solved(table.questions, table.answers))
    if len(wrong):
        raise InputError(f"{rows.places[int(wrong[0])]}: answer: found a wrong one, expected {kind.expected}")
    return table


def build_split(
    name: str,
    kind_name: str,
    kind: PuzzleKind,
    table: Table,
    rng: np.random.Generator,
    num_aug: int = 0,
    online_augmentation: bool = False,
) -> PuzzleSet:
    """Build one split from puzzles as tokens, each followed by `num_aug` random symmetries of itself.

    `kind_name` is the registered name of the kind, or its `package.module:Object`. Raises InputError for a length that
    the kind does not have, and for augmentation of a kind without symmetries.
    """
    groups, seq_len = table.questions.shape
    vocab_size = kind.vocab_size(seq_len)
    if vocab_size is None or not kind.fits(vocab_size, seq_len):
        raise InputError(f"{name}: found puzzles of {seq_len} cells, which no puzzle of kind {kind.name} has")
    tokens = [table.questions, table.answers]
    if num_aug or online_augmentation:
        symmetries = kind.symmetries(rng, groups * num_aug, seq_len)
        if symmetries is None or (online_augmentation and not kind.augments_online):
            raise InputError(f"{name}: found augmentation, expected none: kind {kind.name} has no symmetries to draw")
        if num_aug:
            tokens = [_with_copies(field, symmetries.apply(np.repeat(field, num_aug, axis=0))) for field in tokens]
    inputs, labels = (field.astype(np.uint8) for field in tokens)
    indices = indices_of_single_examples(groups, 1 + num_aug)
    rated = table.ratings if table.ratings.any() else None
    arrays = PuzzleArrays(inputs, labels, *indices, online_augmentation=online_augmentation, ratings=rated)
    metadata = describe_split(kind_name, groups, vocab_size, seq_len, online_augmentation)
    return PuzzleSet(name, metadata, {"all": arrays})


class Repeats(NamedTuple):
    """Test puzzles that are training puzzles."""

    equal: int
    """Those whose question is a training question."""
    symmetric: int
    """Others whose question is symmetric to a training question, as far as `PuzzleKind.canonical` shows."""


def count_repeats(
    kind: PuzzleKind, train: Integer[np.ndarray, "train seq_len"], test: Integer[np.ndarray, "test seq_len"]
) -> Repeats:
    """Count the test questions that are training questions."""
    equal = _are_among(test, train)
    if equal.all():
        return Repeats(len(equal), 0)
    forms = kind.canonical(np.concatenate([train, test]))
    symmetric = _are_among(forms[len(train) :], forms[: len(train)]) & ~equal
    return Repeats(int(equal.sum()), int(symmetric.sum()))


def _are_among(
    rows: Integer[np.ndarray, "rows seq_len"], others: Integer[np.ndarray, "others seq_len"]
) -> Bool[np.ndarray, " rows"]:
    known = {row.tobytes() for row in np.ascontiguousarray(others, np.uint8)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(rows, np.uint8)])


def _with_copies(
    originals: Integer[np.ndarray, "puzzles seq_len"], copies: Integer[np.ndarray, "copies seq_len"]
) -> Integer[np.ndarray, "all seq_len"]:
    count, seq_len = originals.shape
    return np.concatenate([originals[:, None], copies.reshape(count, -1, seq_len)], axis=1).reshape(-1, seq_len)
