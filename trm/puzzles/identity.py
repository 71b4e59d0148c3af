"""Identity of puzzle sets: fingerprints that tell whether two are the same. Entry: `fingerprint`, `difference`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.identifiers import NAMES_FILE, read_identifiers
from trm.puzzles.metadata import INDICES, TOKENS
from trm.puzzles.reading import read_puzzle_set

MOST_TOKENS = 2**28
"""Largest number of tokens of an array that are hashed, 256 MB; of a longer array, as many in evenly spaced rows."""

_CHUNK = 2**22
"""Numbers that are read at a time: a set on disk may be larger than the memory."""


def fingerprint(directories: Sequence[str | Path], split: str) -> dict[str, str]:
    """Return the SHA-256 of three parts of one split of some puzzle sets, in their order.

    `identifiers`: the names of the puzzle identifiers; absent where no directory has them. `indices`: which examples
    belong to which puzzle, group and identifier, and stored augmentations. `examples`: the tokens of inputs and labels,
    all up to 256 MB (`MOST_TOKENS`) of an array, of longer arrays as many in evenly spaced rows. The stored integer
    type does not change the hash. Raises InputError as reading does.
    """
    digests = {"indices": hashlib.sha256(), "examples": hashlib.sha256()}
    for directory in directories:
        puzzles = read_puzzle_set(directory, split)
        for name, arrays in puzzles.sets.items():
            for field, array in _indices(arrays):
                _update(digests["indices"], f"{name} {field}", array)
            for field in TOKENS:
                _update(digests["examples"], f"{name} {field}", getattr(arrays, field), MOST_TOKENS)
    names = fingerprint_names(directories)
    found = {} if names is None else {"identifiers": names}
    return found | {part: digest.hexdigest() for part, digest in digests.items()}


def fingerprint_names(directories: Sequence[str | Path]) -> str | None:
    """Return the SHA-256 of the names of the puzzle identifiers; None where no directory has them."""
    digest, named = hashlib.sha256(), False
    for directory in directories:
        if (Path(directory) / NAMES_FILE).exists():
            named = True
            for name in read_identifiers(directory):
                data = name.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest() if named else None


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """Describe in one line which parts of two fingerprints differ; None where all parts that both have are equal."""
    differing = [part for part in expected if part in found and found[part] != expected[part]]
    return f"other {' and '.join(differing)} than expected" if differing else None


def _indices(arrays: PuzzleArrays) -> Iterator[tuple[str, Integer[np.ndarray, "..."]]]:
    for field in INDICES:
        yield field, getattr(arrays, field)
    if arrays.stored_augmentations is not None:
        yield "first_examples", np.asarray(arrays.first_examples)
        yield from arrays.stored_augmentations._asdict().items()


def _update(digest: Any, name: str, array: Integer[np.ndarray, "..."], most: int | None = None) -> None:
    """Hash name, shape and values; of an array with more than `most` values, those of evenly spaced rows."""
    digest.update(f"{name} {array.shape}\n".encode())
    width = max(1, array.size // max(1, len(array)))
    rows = np.arange(len(array))
    if most is not None and array.size > most:
        count = max(1, most // width)
        rows = np.arange(count) * (len(array) - 1) // max(1, count - 1)
    step = max(1, _CHUNK // width)
    for start in range(0, len(rows), step):
        digest.update(np.ascontiguousarray(array[rows[start : start + step]], "<i4").data)
