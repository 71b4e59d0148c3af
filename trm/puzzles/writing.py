"""Writing puzzle sets, from arrays in memory or a few rows at a time. Entry: `write_puzzle_set`, `new_puzzle_set`.

A set appears whole or not at all: it is written into a temporary folder, which is moved into place at the end.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.metadata import BLANK, FIELDS, RATINGS, TOKENS, Metadata
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
                if arrays.stored_augmentations is not None and arrays.first_examples is not None:
                    fields |= {"first_examples": arrays.first_examples} | arrays.stored_augmentations._asdict()
                elif arrays.first_examples is not None:
                    fields |= _in_order(arrays)
                if arrays.ratings is not None:
                    fields[RATINGS] = arrays.ratings
                for field, array in fields.items():
                    write_field(folder / split, name, field, array)


def _in_order(arrays: PuzzleArrays) -> dict[str, np.ndarray]:
    """Return the tokens in the order of the puzzles, as a set on disk has them."""
    sizes = np.diff(arrays.puzzle_indices)
    rows = arrays.stored_at(np.arange(arrays.examples), np.repeat(np.arange(len(sizes)), sizes))
    return {field: getattr(arrays, field)[rows] for field in TOKENS}


@contextmanager
def new_puzzle_set(directory: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes the puzzle set when the block succeeds; the functions below fill it."""
    with atomic_folder(directory, _MARK, overwrite) as folder:
        yield folder


def check_new_puzzle_set(directory: str | Path, overwrite: bool = False) -> None:
    """Raise InputError where `new_puzzle_set` would; call it before hours of building."""
    check_new_folder(directory, _MARK, overwrite)


_MARK = "identifiers.json"
"""The file that marks a folder as a puzzle set."""


def write_identifiers(folder: Path, names: Sequence[str] = (BLANK,)) -> None:
    """Write the names of the puzzle identifiers, in order; the first is the blank one."""
    (folder / _MARK).write_text(json.dumps(list(names)), encoding="utf-8")


def write_metadata(split: Path, metadata: Metadata) -> None:
    """Write `dataset.json`, without fields that have their defaults: the original does not know these fields."""
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
        """Create both files with their full size."""
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
        """Write consecutive examples, from index `first` on."""
        for path, tokens in ((self.inputs, inputs), (self.labels, labels)):
            # No memory map: its pages would count as this process's memory until the system has written them.
            with path.open("r+b", buffering=0) as file:
                file.seek(self.data_offset + first * self.seq_len)
                view = np.ascontiguousarray(tokens, np.uint8).data.cast("B")
                while view:
                    view = view[file.write(view) :]


def _field_path(split: Path, name: str, field: str) -> Path:
    return split / f"{name}__{field}.npy"
