"""Writing puzzle sets: what enters are arrays, whole or a few rows at a time, what leaves is a directory that both
programs read.

A set appears whole or not at all: everything is written into a folder beside it, which is moved into place at the end.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Num

from trm.errors import InputError
from trm.puzzles.metadata import BLANK, FIELDS, RATINGS, TOKENS, Metadata, PuzzleArrays, PuzzleSet
from trm.storage.files import atomic_folder, check_new_folder


def write_puzzle_set(
    directory: str | Path,
    splits: Mapping[str, PuzzleSet],
    identifiers: Sequence[str] = (BLANK,),
    overwrite: bool = False,
) -> None:
    """Write a puzzle set from arrays in memory. Tokens are stored as uint8, indices as int32.

    Raises InputError when the directory exists and holds anything, unless `overwrite`, and when it cannot be written.
    """
    with new_puzzle_set(directory, overwrite) as folder:
        write_identifiers(folder, identifiers)
        for split, puzzles in splits.items():
            write_metadata(folder / split, puzzles.metadata)
            for name, arrays in puzzles.sets.items():
                fields = {field: getattr(arrays, field) for field in FIELDS}
                if arrays.recipe is not None:
                    fields |= arrays.recipe._asdict()
                if arrays.ratings is not None:
                    fields[RATINGS] = arrays.ratings
                for field, array in fields.items():
                    write_field(folder / split, name, field, array)


@contextmanager
def new_puzzle_set(directory: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes the puzzle set when the block succeeds; the functions below fill it."""
    with atomic_folder(directory, _MARK, overwrite) as folder:
        yield folder


def check_new_puzzle_set(directory: str | Path, overwrite: bool = False) -> None:
    """Raise InputError where `new_puzzle_set` would, before hours go into what the set is to hold."""
    check_new_folder(directory, _MARK, overwrite)


_MARK = "identifiers.json"
"""The file by which a folder is known as a puzzle set."""


def write_identifiers(folder: Path, names: Sequence[str] = (BLANK,)) -> None:
    """Write the names of the puzzle identifiers, in order; the first is the blank one."""
    (folder / _MARK).write_text(json.dumps(list(names)), encoding="utf-8")


def write_metadata(split: Path, metadata: Metadata) -> None:
    """Write `dataset.json`; what only this program knows is left out where it says nothing."""
    split.mkdir(exist_ok=True)
    values = dataclasses.asdict(metadata)
    for field in dataclasses.fields(Metadata):
        if values[field.name] == field.default:
            del values[field.name]
    (split / "dataset.json").write_text(json.dumps(values), encoding="utf-8")


def write_field(split: Path, name: str, field: str, array: Integer[np.ndarray, "..."]) -> None:
    """Write one array of a named set."""
    dtype = np.uint8 if field in (*TOKENS, "transforms", "colors") else np.int32
    np.save(_field_path(split, name, field), array.astype(dtype, copy=False))


@dataclasses.dataclass(frozen=True)
class TokenFiles:
    """Inputs and labels of a named set, written a few rows at a time, in any order, by any process."""

    inputs: Path
    labels: Path
    data_offset: int
    """Bytes before the first row."""
    seq_len: int

    @staticmethod
    def create(split: Path, name: str, examples: int, seq_len: int) -> "TokenFiles":
        """Make both files at their full size."""
        split.mkdir(exist_ok=True)
        inputs, labels = (_field_path(split, name, field) for field in TOKENS)
        header = {"descr": "|u1", "fortran_order": False, "shape": (examples, seq_len)}
        data_offset = 0
        for path in (inputs, labels):
            with path.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                data_offset = file.tell()
                file.truncate(data_offset + examples * seq_len)
        return TokenFiles(inputs, labels, data_offset, seq_len)

    def write(
        self, first: int, inputs: Integer[np.ndarray, "rows seq_len"], labels: Integer[np.ndarray, "rows seq_len"]
    ) -> None:
        """Write consecutive examples, of which the first has this index."""
        for path, tokens in ((self.inputs, inputs), (self.labels, labels)):
            # No memory map: its pages would count as this process's memory until the system has written them.
            with path.open("r+b", buffering=0) as file:
                file.seek(self.data_offset + first * self.seq_len)
                view = np.ascontiguousarray(tokens, np.uint8).data.cast("B")
                while view:
                    view = view[file.write(view) :]


def _field_path(split: Path, name: str, field: str) -> Path:
    return split / f"{name}__{field}.npy"


def make_split(
    inputs: Num[np.ndarray, "..."],
    labels: Num[np.ndarray, "..."],
    vocab_size: int,
    *,
    puzzles: Num[np.ndarray, "..."] | None = None,
    groups: Num[np.ndarray, "..."] | None = None,
    puzzle_identifiers: Num[np.ndarray, "..."] | None = None,
    num_puzzle_identifiers: int | None = None,
    ratings: Num[np.ndarray, "..."] | None = None,
    pad_id: int = 0,
    ignore_label_id: int | None = 0,
) -> PuzzleSet:
    """Make one split of a puzzle set from arrays of tokens.

    `inputs` and `labels` have shape (examples, seq_len), `puzzles` (examples,), `groups` and `puzzle_identifiers`
    (puzzles,). Token `pad_id` fills up batches and means nothing; labels that equal `ignore_label_id` count neither in
    the loss nor in a metric. `puzzles` says for each example which puzzle it belongs to and `groups` for each puzzle
    which original it was made from, both counted from 0 without gaps and in order; each example is a puzzle of its own,
    and each puzzle a group of its own, where nothing is said. A puzzle's identifier chooses its row in the puzzle
    embedding; 0, which all have where nothing is said, is the blank one. `ratings` has shape (groups,): how difficult
    each original is, for accuracy by difficulty.

    Raises InputError, naming array and row, for shapes that do not go together, tokens outside the vocabulary,
    numbers that are out of order and those that are no integers.
    """
    given = {"inputs": inputs, "labels": labels, "puzzles": puzzles, "groups": groups}
    for field, array in (given | {"puzzle_identifiers": puzzle_identifiers, "ratings": ratings}).items():
        if array is not None and not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"{field}: found {array.dtype}, expected integers")
    if inputs.ndim != 2 or inputs.shape != labels.shape or not inputs.size:
        raise InputError(f"inputs and labels: found shapes {inputs.shape} and {labels.shape}, expected two alike")
    if not 2 <= vocab_size <= 256:
        raise InputError(f"vocab_size: found {vocab_size}, expected 2 to 256 (tokens are stored as bytes)")
    for field, tokens in (("inputs", inputs), ("labels", labels)):
        outside = np.argwhere((tokens < 0) | (tokens >= vocab_size))
        if len(outside):
            row, column = outside[0]
            raise InputError(
                f"{field}: example {row}: found token {tokens[row, column]}, expected 0 to {vocab_size - 1}"
            )
    puzzle_indices = _bounds("puzzles", puzzles, len(inputs))
    group_indices = _bounds("groups", groups, len(puzzle_indices) - 1)
    if puzzle_identifiers is None:
        puzzle_identifiers = np.zeros(len(puzzle_indices) - 1, np.int32)
    if len(puzzle_identifiers) != len(puzzle_indices) - 1:
        raise InputError(f"puzzle_identifiers: found {len(puzzle_identifiers)}, expected {len(puzzle_indices) - 1}")
    highest = int(puzzle_identifiers.max())
    num_puzzle_identifiers = highest + 1 if num_puzzle_identifiers is None else num_puzzle_identifiers
    if puzzle_identifiers.min() < 0 or highest >= num_puzzle_identifiers:
        found = f"{puzzle_identifiers.min()} to {highest}"
        raise InputError(f"puzzle_identifiers: found {found}, expected 0 to {num_puzzle_identifiers - 1}")
    groups_shape = (len(group_indices) - 1,)
    if ratings is not None and ratings.shape != groups_shape:
        raise InputError(f"ratings: found shape {ratings.shape}, expected {groups_shape}")
    metadata = Metadata(
        pad_id=pad_id,
        ignore_label_id=ignore_label_id,
        blank_identifier_id=0,
        vocab_size=vocab_size,
        seq_len=inputs.shape[1],
        num_puzzle_identifiers=num_puzzle_identifiers,
        total_groups=len(group_indices) - 1,
        mean_puzzle_examples=len(inputs) / (len(puzzle_indices) - 1),
        total_puzzles=len(puzzle_indices) - 1,
        sets=["all"],
        kind="other",
    )
    arrays = PuzzleArrays(inputs, labels, puzzle_identifiers, puzzle_indices, group_indices, ratings=ratings)
    return PuzzleSet("arrays", metadata, {"all": arrays})


def _bounds(name: str, owners: Integer[np.ndarray, "..."] | None, items: int) -> Integer[np.ndarray, " bounds"]:
    """Return where each owner's items begin and end."""
    if owners is None:
        return np.arange(items + 1, dtype=np.int32)
    if owners.shape != (items,):
        raise InputError(f"{name}: found shape {owners.shape}, expected {(items,)}")
    steps = np.diff(owners, prepend=0)
    steps[0] = 1 if owners[0] == 0 else 2  # The first must be 0.
    wrong = np.flatnonzero((steps != 0) & (steps != 1))
    if len(wrong):
        row = wrong[0]
        before = owners[row - 1] if row else "nothing"
        raise InputError(f"{name}: row {row}: found {owners[row]} after {before}, expected 0, 1, 2, ... in order")
    return np.r_[np.flatnonzero(steps), items].astype(np.int32)
