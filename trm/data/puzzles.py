"""The puzzle set on disk, in the original's format: what enters is a directory, what leaves are memory-mapped arrays.

    DIR/identifiers.json               names of the puzzle identifiers; index 0 is "<blank>"
    DIR/{train,test}/dataset.json      the `Metadata`
    DIR/{train,test}/{set}__inputs.npy, __labels.npy                    (examples, seq_len) tokens
    DIR/{train,test}/{set}__puzzle_identifiers.npy                      (puzzles,)
    DIR/{train,test}/{set}__puzzle_indices.npy, __group_indices.npy     (puzzles + 1,), (groups + 1,)

Examples of puzzle i are `puzzle_indices[i]` to `puzzle_indices[i + 1]`, puzzles of group g likewise: a group is one
original puzzle with its augmentations. Both programs read and write these files.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from beartype.door import is_bearable
from jaxtyping import Integer

from trm.errors import InputError
from trm.files import replacing_folder

IGNORED_LABEL = -100
"""Label of a token that counts neither in the loss nor in a metric."""

FIELDS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What `dataset.json` says of one split."""

    pad_id: int
    ignore_label_id: int | None
    """Label on disk that is to be ignored; unset: every label counts."""
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: list[str]

    @property
    def examples_per_epoch(self) -> float:
        """Examples that one pass over the groups trains on, on average."""
        return self.total_groups * self.mean_puzzle_examples


@dataclasses.dataclass(frozen=True)
class PuzzleArrays:
    """The arrays of one named set of a split."""

    inputs: Integer[np.ndarray, "examples seq_len"]
    labels: Integer[np.ndarray, "examples seq_len"]
    puzzle_identifiers: Integer[np.ndarray, " puzzles"]
    puzzle_indices: Integer[np.ndarray, " puzzle_bounds"]
    group_indices: Integer[np.ndarray, " group_bounds"]


@dataclasses.dataclass(frozen=True)
class PuzzleSet:
    """One split of a puzzle set."""

    name: str
    """Where it came from, for messages."""
    metadata: Metadata
    sets: Mapping[str, PuzzleArrays]

    @property
    def examples(self) -> int:
        return sum(len(arrays.inputs) for arrays in self.sets.values())


def read_puzzle_set(directory: str | Path, split: str) -> PuzzleSet:
    """Open a split of a puzzle set; tokens and indices stay on disk, memory-mapped.

    Raises InputError, naming the file, for whatever is missing, malformed or contradicts the metadata.
    """
    folder = Path(directory) / split
    metadata = _read_metadata(folder / "dataset.json")
    sets = {name: _read_arrays(folder, name, metadata) for name in metadata.sets}
    return PuzzleSet(str(folder), metadata, sets)


def read_identifiers(directory: str | Path) -> list[str]:
    """Read the names of the puzzle identifiers; raise InputError when the file is missing or is not a list of names."""
    path = Path(directory) / "identifiers.json"
    names = read_json(path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: found {names!s:.40}, expected a list of names")
    return names


def write_puzzle_set(
    directory: str | Path,
    splits: Mapping[str, PuzzleSet],
    identifiers: list[str],
    overwrite: bool = False,
) -> None:
    """Write a puzzle set; it appears whole or not at all. Tokens are stored as uint8, indices as int32."""
    with replacing_folder(directory, "identifiers.json", overwrite) as folder:
        (folder / "identifiers.json").write_text(json.dumps(identifiers), encoding="utf-8")
        for split, puzzles in splits.items():
            (folder / split).mkdir()
            metadata = json.dumps(dataclasses.asdict(puzzles.metadata))
            (folder / split / "dataset.json").write_text(metadata, encoding="utf-8")
            for name, arrays in puzzles.sets.items():
                for field in FIELDS:
                    dtype = np.uint8 if field in ("inputs", "labels") else np.int32
                    np.save(folder / split / f"{name}__{field}.npy", getattr(arrays, field).astype(dtype, copy=False))


def read_json(path: Path) -> Any:
    """Read a JSON file; raise InputError when it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error


def _read_metadata(path: Path) -> Metadata:
    return check_metadata(read_json(path), str(path))


def check_metadata(values: Any, path: str) -> Metadata:
    """Turn what a JSON file says into metadata; raise InputError, naming file and field, for what is no metadata."""
    hints = get_type_hints(Metadata)
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected an object")
    values = dict(values)
    for name, hint in hints.items():
        if name not in values:
            raise InputError(f"{path}: {name}: missing")
        if hint is float and type(values[name]) is int:
            values[name] = float(values[name])
        if not is_bearable(values[name], hint) or type(values[name]) is bool:
            raise InputError(f"{path}: {name}: found {values[name]!r}, expected {getattr(hint, '__name__', hint)}")
    metadata = Metadata(**{name: values[name] for name in hints})
    for name in "vocab_size seq_len num_puzzle_identifiers total_groups mean_puzzle_examples".split():
        if not 0 < getattr(metadata, name) < math.inf:
            raise InputError(f"{path}: {name}: found {getattr(metadata, name)}, expected more than 0")
    if not metadata.sets:
        raise InputError(f"{path}: sets: found none, expected at least one")
    for name in metadata.sets:
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"{path}: sets: found {name!r}, expected a plain name")
    return metadata


def _read_arrays(folder: Path, name: str, metadata: Metadata) -> PuzzleArrays:
    paths = {field: folder / f"{name}__{field}.npy" for field in FIELDS}
    arrays = {field: _map_array(path) for field, path in paths.items()}

    def require(holds: bool | np.bool, field: str, found: object, expected: object):
        if not holds:
            raise InputError(f"{paths[field]}: found {found}, expected {expected}")

    for field, array in arrays.items():
        require(array.ndim >= 1, field, f"shape {array.shape}", "an array of at least one axis")
        require(array.dtype.kind in "iu", field, f"dtype {array.dtype}", "integers")
    for field in ("inputs", "labels"):
        shape = (len(arrays["inputs"]), metadata.seq_len)
        require(arrays[field].shape == shape, field, f"shape {arrays[field].shape}", shape)
    require(len(arrays["inputs"]) > 0, "inputs", "no examples", "at least one")
    puzzles = len(arrays["puzzle_identifiers"])
    for field, units, last in (
        ("puzzle_indices", puzzles + 1, len(arrays["inputs"])),
        ("group_indices", None, puzzles),
    ):
        indices = arrays[field]
        require(indices.ndim == 1 and len(indices) >= 2, field, f"shape {indices.shape}", "(2 or more,)")
        require(units in (None, len(indices)), field, f"{len(indices)} indices", units)
        require(indices[0] == 0 and indices[-1] == last, field, f"{indices[0]} to {indices[-1]}", f"0 to {last}")
        falls = np.flatnonzero(indices[1:] <= indices[:-1])
        require(len(falls) == 0, field, f"index {falls[:1]} not below the next", "rising indices")
    identifiers = arrays["puzzle_identifiers"]
    require(identifiers.ndim == 1, "puzzle_identifiers", f"shape {identifiers.shape}", "(puzzles,)")
    for extreme in (identifiers.min(), identifiers.max()):
        found = 0 <= extreme < metadata.num_puzzle_identifiers
        require(found, "puzzle_identifiers", extreme, f"0 to {metadata.num_puzzle_identifiers - 1}")
    return PuzzleArrays(**arrays)


def _map_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a whole .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: found an archive of arrays, expected a single .npy array")
    return array
