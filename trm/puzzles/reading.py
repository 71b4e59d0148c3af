"""Reading a puzzle set from disk, memory-mapped. Entry: `read_puzzle_set`, `read_puzzle_sets`."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet, StoredAugmentations
from trm.puzzles.identifiers import NAMES_FILE, read_identifiers
from trm.puzzles.joining import join_puzzle_sets
from trm.puzzles.json_files import read_json
from trm.puzzles.kinds.arc.grids import ARC_COLORS
from trm.puzzles.kinds.registry import check_kind, kind_of
from trm.puzzles.metadata import FIELDS, RATINGS, STORED_AUGMENTATIONS, TOKENS, Metadata, check_metadata
from trm.storage.npy import map_npy


def read_puzzle_set(directory: str | Path, split: str) -> PuzzleSet:
    """Open a split of a puzzle set; tokens and indices stay on disk, memory-mapped.

    Raises InputError, naming the file, for anything that is missing, malformed or contradicts the metadata.
    """
    folder = Path(directory) / split
    path = folder / "dataset.json"
    metadata = check_metadata(_complete(read_json(path), folder), str(path))
    check_kind(metadata, str(path))
    sets = {name: _read_arrays(folder, name, metadata) for name in metadata.sets}
    return PuzzleSet(str(folder), metadata, sets)


def read_puzzle_sets(directories: Sequence[str | Path], split: str) -> PuzzleSet:
    """Open one split of several puzzle sets as one; errors as of `read_puzzle_set` and `join_puzzle_sets`."""
    return join_puzzle_sets([read_puzzle_set(directory, split) for directory in directories])


def _complete(values: Any, folder: Path) -> Any:
    """Return the values of `dataset.json`, missing counts added from the arrays: HRM's builders count no puzzles."""
    if not isinstance(values, dict) or all(name in values for name in _DERIVED):
        return values
    names = [path.name.removesuffix("__inputs.npy") for path in sorted(folder.glob("*__inputs.npy"))]
    sets = values.get("sets", names)
    if not isinstance(sets, list) or not all(isinstance(name, str) for name in sets) or not set(sets) <= set(names):
        return values  # The check of the values reports the fault.
    arrays = {field: [map_npy(folder / f"{name}__{field}.npy") for name in sets] for field in FIELDS}
    if not sets or any(array.ndim == 0 for parts in arrays.values() for array in parts):
        return values
    groups, puzzles = (sum(len(array) - 1 for array in arrays[f"{of}_indices"]) for of in ("group", "puzzle"))
    identifiers = 1 + max(int(array.max(initial=0)) for array in arrays["puzzle_identifiers"])
    if (folder.parent / NAMES_FILE).exists():
        identifiers = max(identifiers, len(read_identifiers(folder.parent)))
    examples = sum(len(array) for array in arrays["inputs"])
    found = {
        "sets": sets,
        "seq_len": arrays["inputs"][0].shape[-1],
        "num_puzzle_identifiers": identifiers,
        "total_groups": groups,
        "total_puzzles": puzzles,
        "mean_puzzle_examples": examples / max(puzzles, 1),
    }
    return found | values


_DERIVED = "sets seq_len num_puzzle_identifiers total_groups total_puzzles mean_puzzle_examples".split()
"""Fields of the metadata that follow from the arrays; the vocabulary and the meaning of tokens do not."""


def _read_arrays(folder: Path, name: str, metadata: Metadata) -> PuzzleArrays:
    stores_augmentations = metadata.online_augmentation and kind_of(metadata).stores_augmentations
    fields = FIELDS + STORED_AUGMENTATIONS if stores_augmentations else FIELDS
    paths = {field: folder / f"{name}__{field}.npy" for field in fields}
    ratings_path = folder / f"{name}__{RATINGS}.npy"
    # For a name that the system rejects, os.path returns False, and Path raises.
    if os.path.exists(ratings_path):
        paths[RATINGS] = ratings_path
    arrays = {field: map_npy(path) for field, path in paths.items()}

    def require(holds: bool | np.bool, field: str, found: object, expected: object):
        if not holds:
            raise InputError(f"{paths[field]}: found {found}, expected {expected}")

    for field, array in arrays.items():
        require(array.ndim >= 1, field, f"shape {array.shape}", "an array of at least one axis")
        # NumPy converts unsigned 64-bit numbers to floats in operations with signed ones.
        integers = array.dtype.kind in "iu" and array.dtype != np.uint64
        require(integers, field, f"dtype {array.dtype}", "integers of at most 63 bits")
    stored = len(arrays["inputs"])
    for field in TOKENS:
        shape = (stored, metadata.seq_len)
        require(arrays[field].shape == shape, field, f"shape {arrays[field].shape}", shape)
    require(stored > 0, "inputs", "no examples", "at least one")
    puzzles = len(arrays["puzzle_identifiers"])
    examples = None if stores_augmentations else stored
    for field, units, last in (("puzzle_indices", puzzles + 1, examples), ("group_indices", None, puzzles)):
        indices = arrays[field]
        require(indices.ndim == 1 and len(indices) >= 2, field, f"shape {indices.shape}", "(2 or more,)")
        require(units in (None, len(indices)), field, f"{len(indices)} indices", units)
        last = indices[-1] if last is None else last
        require(indices[0] == 0 and indices[-1] == last, field, f"{indices[0]} to {indices[-1]}", f"0 to {last}")
        falls = np.flatnonzero(indices[1:] <= indices[:-1])
        require(len(falls) == 0, field, f"index {falls[:1]} not below the next", "rising indices")
    identifiers = arrays["puzzle_identifiers"]
    require(identifiers.ndim == 1, "puzzle_identifiers", f"shape {identifiers.shape}", "(puzzles,)")

    def require_range(field: str, lowest: int, highest: int) -> None:
        for extreme in (arrays[field].min(), arrays[field].max()):
            require(lowest <= extreme <= highest, field, extreme, f"{lowest} to {highest}")

    require_range("puzzle_identifiers", 0, metadata.num_puzzle_identifiers - 1)
    if RATINGS in arrays:
        shape = (len(arrays["group_indices"]) - 1,)
        require(arrays[RATINGS].shape == shape, RATINGS, f"shape {arrays[RATINGS].shape}", shape)
    read = PuzzleArrays(
        *(arrays[field] for field in FIELDS),
        online_augmentation=metadata.online_augmentation,
        ratings=arrays.get(RATINGS),
    )
    if not stores_augmentations:
        return read
    for field, shape in (("first_examples", (puzzles,)), ("transforms", (puzzles,)), ("colors", (puzzles, ARC_COLORS))):
        require(arrays[field].shape == shape, field, f"shape {arrays[field].shape}", shape)
    require_range("transforms", 0, 7)
    require_range("colors", 0, ARC_COLORS - 1)
    require_range("first_examples", 0, stored - 1)
    sizes = np.diff(arrays["puzzle_indices"].astype(np.int64))
    ends = np.minimum(sizes, stored + 1) + arrays["first_examples"]
    require(ends.max() <= stored, "first_examples", f"examples up to {ends.max()}", f"at most {stored}")
    augmentations = StoredAugmentations(arrays["transforms"], arrays["colors"])
    return dataclasses.replace(read, first_examples=arrays["first_examples"], stored_augmentations=augmentations)
