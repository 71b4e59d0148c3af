"""Verification of puzzle sets. Entry: `check_puzzle_set`.

Opening a set makes the cheap checks: shapes, index bounds, identifiers. `check_puzzle_set` also reads every token.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.arc.augmentations import SEPARATOR
from trm.puzzles.kinds.arc.grids import ARC_COLORS
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import read_examples
from trm.puzzles.metadata import IGNORED_LABEL, TOKENS
from trm.puzzles.reading import read_puzzle_set

Tokens = Integer[np.ndarray, "examples seq_len"]

SPLITS = ("train", "test")
_CHUNK = 4096
"""Examples that are read at a time."""


def check_puzzle_set(directory: str | Path) -> Iterator[str]:
    """Check a puzzle set and yield a line for each check that passes; raise InputError for the first wrong row."""
    splits = read_splits(directory)
    names = read_identifiers(directory)
    for puzzles in splits:
        metadata, kind = puzzles.metadata, kind_of(puzzles.metadata)
        expected = metadata.num_puzzle_identifiers
        _require(len(names) == expected, f"{directory}/identifiers.json", f"{len(names)} names", expected)
        _check_counts(puzzles)
        yield f"{puzzles.name}: {puzzles.examples:,} examples, {metadata.total_groups:,} groups: indices hold"
        for name, arrays in puzzles.sets.items():
            _check_stored_augmentations(puzzles.name, name, arrays, names)
            for first, inputs, labels in _read(puzzles, arrays):
                wrong = np.flatnonzero(~kind.well_formed(inputs, labels))
                if len(wrong):
                    where = f"{puzzles.name}: {name}: example {first + wrong[0]}"
                    raise InputError(f"{where}: found an example that breaks the rules, expected {kind.expected}")
        yield f"{puzzles.name}: tokens: {kind.verdict}"


def read_splits(directory: str | Path) -> list[PuzzleSet]:
    """Open the splits that a directory holds; raise InputError when it holds none."""
    splits = [split for split in SPLITS if (Path(directory) / split).is_dir()]
    if not splits:
        raise InputError(f"{directory}: found neither train/ nor test/, expected a puzzle set")
    return [read_puzzle_set(directory, split) for split in splits]


def token_histogram(puzzles: PuzzleSet) -> dict[str, Integer[np.ndarray, " vocab"]]:
    """Count each token in the stored inputs and labels; raise InputError for a token out of range."""
    counts = {field: np.zeros(puzzles.metadata.vocab_size, dtype=np.int64) for field in TOKENS}
    for arrays in puzzles.sets.values():
        for field, count in counts.items():
            tokens = getattr(arrays, field)
            for start in range(0, len(tokens), _CHUNK):
                chunk = tokens[start : start + _CHUNK].ravel()
                if len(chunk) and not 0 <= chunk.min() <= chunk.max() < len(count):
                    found = chunk.min() if chunk.min() < 0 else chunk.max()
                    raise InputError(f"{puzzles.name}: {field}: found token {found}, expected 0 to {len(count) - 1}")
                count += np.bincount(chunk, minlength=len(count))
    return counts


def checksums(directory: str | Path) -> dict[str, tuple[int, str]]:
    """Return size in bytes and SHA-256 of every file of a puzzle set."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(directory))] = path.stat().st_size, digest
    return found


def _check_counts(puzzles: PuzzleSet) -> None:
    metadata, where = puzzles.metadata, f"{puzzles.name}/dataset.json"
    groups = sum(arrays.groups for arrays in puzzles.sets.values())
    count = sum(len(arrays.puzzle_identifiers) for arrays in puzzles.sets.values())
    _require(metadata.total_groups == groups, f"{where}: total_groups", metadata.total_groups, groups)
    # The original counts groups as puzzles where all puzzles of a group are alike.
    fits = metadata.total_puzzles in (groups, count)
    _require(fits, f"{where}: total_puzzles", metadata.total_puzzles, f"{groups} or {count}")
    mean = puzzles.examples / count
    _require(
        np.isclose(metadata.mean_puzzle_examples, mean),
        f"{where}: mean_puzzle_examples",
        metadata.mean_puzzle_examples,
        mean,
    )


def _check_stored_augmentations(where: str, name: str, arrays: PuzzleArrays, names: list[str]) -> None:
    """Check that the name of each puzzle matches its stored augmentation."""
    stored = arrays.stored_augmentations
    if stored is None:
        return
    colors = np.ascontiguousarray(stored.colors, dtype=np.uint8) + np.uint8(ord("0"))
    digits = colors.view(f"S{ARC_COLORS}").ravel().astype(str)
    rows = zip(arrays.puzzle_identifiers.tolist(), stored.transforms.tolist(), digits.tolist(), strict=True)
    for puzzle, (identifier, transform, permutation) in enumerate(rows):
        augmented = names[identifier].split(SEPARATOR)[1:]
        made = [f"t{transform}", permutation]
        if made != (augmented[-2:] or ["t0", "0123456789"]) or len(set(permutation)) < ARC_COLORS:
            raise InputError(
                f"{where}: {name}: puzzle {puzzle}: found {SEPARATOR.join(made)}, "
                f"expected the augmentation in its name, {names[identifier]!r}"
            )


def _require(holds: bool | np.bool, where: str, found: object, expected: object) -> None:
    if not holds:
        raise InputError(f"{where}: found {found}, expected {expected}")


def _read(puzzles: PuzzleSet, arrays: PuzzleArrays) -> Iterator[tuple[int, Tokens, Tokens]]:
    """Yield the index of a chunk's first example with inputs and labels; a token out of range raises InputError."""
    # Stored examples only: augmentations keep the rules.
    arrays = dataclasses.replace(arrays, first_examples=None, stored_augmentations=None)
    for start in range(0, len(arrays.inputs), _CHUNK):
        examples = np.arange(start, min(start + _CHUNK, len(arrays.inputs)))
        batch = read_examples(puzzles, arrays, examples, np.zeros_like(examples))
        # The rules expect labels as they are stored, not the mark of ignored ones.
        yield start, batch.inputs, np.where(batch.labels == IGNORED_LABEL, 0, batch.labels)
