"""The identity of a puzzle set: fingerprints that tell it from another one of the same size.

Entry: `fingerprint`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.metadata import INDICES, STORED_AUGMENTATIONS, TOKENS
from trm.puzzles.reading import read_puzzle_set

CHUNK = 1 << 16
"""Rows that are read at a time: a set on disk may be larger than the memory."""


def fingerprint(directories: Sequence[str | Path], split: str) -> dict[str, str]:
    """Return the SHA-256 of a split of several puzzle sets: of the names of identifiers, the indices, the examples.

    It depends on the numbers alone, not on the folder or the integer type on disk.
    """
    hashes = {name: hashlib.sha256() for name in ("identifiers", "indices", "examples")}
    for directory in directories:
        hashes["identifiers"].update(json.dumps(read_identifiers(directory)).encode())
        puzzles = read_puzzle_set(directory, split)
        for name, arrays in puzzles.sets.items():
            for field, array in _indices(arrays):
                _update(hashes["indices"], f"{name} {field}", array)
            for field in TOKENS:
                _update(hashes["examples"], f"{name} {field}", getattr(arrays, field))
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def _indices(arrays: PuzzleArrays) -> Iterable[tuple[str, np.ndarray]]:
    for field in INDICES:
        yield field, getattr(arrays, field)
    if arrays.stored_augmentations is not None:
        for field in STORED_AUGMENTATIONS:
            yield field, getattr(arrays.stored_augmentations, field)


def _update(digest: Any, name: str, array: np.ndarray) -> None:
    digest.update(f"{name} {array.shape}".encode())
    for start in range(0, len(array), CHUNK):
        digest.update(np.ascontiguousarray(array[start : start + CHUNK], dtype="<i4").data)
