"""Verifying a puzzle set: what enters is a directory, what leaves is a line for each thing that was found to hold.

Opening a set checks what is cheap: shapes, index bounds, identifiers. This reads every token too.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.errors import InputError
from trm.puzzles.kinds.arc import grids as arc
from trm.puzzles.kinds.maze import boards as maze
from trm.puzzles.kinds.sudoku import boards as sudoku
from trm.puzzles.loader import read_examples
from trm.puzzles.metadata import (
    ARC_COLORS,
    ARC_SIDE,
    IGNORED_LABEL,
    TOKENS,
    Kind,
    PuzzleArrays,
    PuzzleSet,
    read_identifiers,
    read_puzzle_set,
)

Tokens = Integer[np.ndarray, "examples seq_len"]

SPLITS = ("train", "test")
_CHUNK = 4096
"""Examples that are read at a time."""


def check_puzzle_set(directory: str | Path) -> Iterator[str]:
    """Check every invariant of a puzzle set and say what holds; raise InputError naming the first row that is wrong."""
    splits = read_splits(directory)
    names = read_identifiers(directory)
    for puzzles in splits:
        metadata, rule = puzzles.metadata, _RULES[puzzles.metadata.puzzle_kind]
        expected = metadata.num_puzzle_identifiers
        _require(len(names) == expected, f"{directory}/identifiers.json", f"{len(names)} names", expected)
        _check_counts(puzzles)
        yield f"{puzzles.name}: {puzzles.examples:,} examples, {metadata.total_groups:,} groups: indices hold"
        for name, arrays in puzzles.sets.items():
            _check_recipe(puzzles.name, name, arrays, names)
            for first, inputs, labels in _read(puzzles, arrays):
                wrong = np.flatnonzero(~rule.obeys(inputs, labels))
                if len(wrong):
                    raise InputError(f"{puzzles.name}: {name}: example {first + wrong[0]}: {rule.says}")
        yield f"{puzzles.name}: tokens: {rule.holds}"


def read_splits(directory: str | Path) -> list[PuzzleSet]:
    """Open the splits that a directory holds; raise InputError when it holds none."""
    splits = [split for split in SPLITS if (Path(directory) / split).is_dir()]
    if not splits:
        raise InputError(f"{directory}: found neither train/ nor test/, expected a puzzle set")
    return [read_puzzle_set(directory, split) for split in splits]


def token_histogram(puzzles: PuzzleSet) -> dict[str, Integer[np.ndarray, " vocab"]]:
    """Count each token in the inputs and in the labels, as they are stored; raise InputError for one that is none."""
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


def _check_recipe(where: str, name: str, arrays: PuzzleArrays, names: list[str]) -> None:
    """Check that the name of each puzzle says what is made of its original."""
    if arrays.recipe is None:
        return
    colors = np.ascontiguousarray(arrays.recipe.colors, dtype=np.uint8) + np.uint8(ord("0"))
    digits = colors.view(f"S{ARC_COLORS}").ravel().astype(str)
    rows = zip(arrays.puzzle_identifiers.tolist(), arrays.recipe.transforms.tolist(), digits.tolist(), strict=True)
    for puzzle, (identifier, transform, permutation) in enumerate(rows):
        augmented = names[identifier].split(arc.SEPARATOR)[1:]
        made = [f"t{transform}", permutation]
        if made != (augmented[-2:] or ["t0", "0123456789"]) or len(set(permutation)) < ARC_COLORS:
            raise InputError(
                f"{where}: {name}: puzzle {puzzle}: found {arc.SEPARATOR.join(made)}, "
                f"expected what its name says, {names[identifier]!r}"
            )


def _require(holds: bool | np.bool, where: str, found: object, expected: object) -> None:
    if not holds:
        raise InputError(f"{where}: found {found}, expected {expected}")


def _read(puzzles: PuzzleSet, arrays: PuzzleArrays) -> Iterator[tuple[int, Tokens, Tokens]]:
    """Yield the index of a chunk's first example with inputs and labels; a token out of range raises InputError."""
    # As they are stored: what a recipe makes of them is as right as they are.
    arrays = dataclasses.replace(arrays, recipe=None)
    for start in range(0, len(arrays.inputs), _CHUNK):
        examples = np.arange(start, min(start + _CHUNK, len(arrays.inputs)))
        batch = read_examples(puzzles, arrays, examples, np.zeros_like(examples))
        # Ignored labels as they are stored: the rules know nothing of them.
        yield start, batch.inputs, np.where(batch.labels == IGNORED_LABEL, 0, batch.labels)


class _Rule(NamedTuple):
    """What examples of one kind must obey."""

    obeys: Callable[[Tokens, Tokens], Bool[np.ndarray, " examples"]]
    says: str
    """Of one that does not."""
    holds: str
    """Of a set where all do."""


def _obeys_sudoku(inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " examples"]:
    n = math.isqrt(inputs.shape[1])
    questions, answers = (tokens.reshape(-1, n, n) - sudoku.TOKEN_OF_DIGIT_0 for tokens in (inputs, labels))
    return (questions >= 0).all(axis=(1, 2)) & sudoku.obeys_rules(questions, answers)


def _obeys_maze(inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " examples"]:
    n = math.isqrt(inputs.shape[1])
    return maze.is_shortest_path(*(tokens.reshape(-1, n, n) for tokens in (inputs, labels)))


def _obeys_arc(inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " examples"]:
    return _is_framed(inputs) & _is_framed(labels)


def _is_framed(tokens: Tokens) -> Bool[np.ndarray, " examples"]:
    """Say whether frames hold one rectangle of colours each, end markers below and to the right, and nothing else."""
    frames = tokens.reshape(-1, ARC_SIDE, ARC_SIDE)
    colored = np.asarray(frames >= arc.TOKEN_OF_COLOR_0)
    in_rows, in_columns = (np.asarray(colored.any(axis=axis)) for axis in (2, 1))
    # A rectangle is the product of its shadows, which have no gaps.
    gaps = (_count_runs(in_rows) != 1) | (_count_runs(in_columns) != 1)
    # Ends are one step after the last cells.
    below, right = _after(in_rows), _after(in_columns)
    grid = in_rows[:, :, None] & in_columns[:, None, :]
    ends = (below[:, :, None] & in_columns[:, None, :]) | (in_rows[:, :, None] & right[:, None, :])
    others = np.where(ends, arc.END, arc.PAD)
    fits = np.where(grid, colored, frames == others).all(axis=(1, 2))
    return fits & ~gaps


def _count_runs(shadows: Bool[np.ndarray, "examples side"]) -> Integer[np.ndarray, " examples"]:
    return (np.diff(shadows.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)


def _after(shadows: Bool[np.ndarray, "examples side"]) -> Bool[np.ndarray, "examples side"]:
    """Mark the first place after each run."""
    moved = np.pad(shadows[:, :-1], ((0, 0), (1, 0)))
    return moved & ~shadows


def _obeys_nothing(inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " examples"]:
    return np.ones(len(inputs), dtype=bool)


_RULES: dict[Kind, _Rule] = {
    "sudoku": _Rule(
        _obeys_sudoku,
        "found an answer that changes a clue or breaks the rules, expected a solved Sudoku",
        "every answer keeps the clues and obeys the rules of Sudoku",
    ),
    "maze": _Rule(
        _obeys_maze,
        "found an answer that is no shortest path, expected one from S to G on free cells",
        "every answer is a shortest path",
    ),
    "arc": _Rule(
        _obeys_arc,
        "found a frame that holds no grid, expected a rectangle of colours with end markers below and to the right",
        "every frame holds one grid",
    ),
    "other": _Rule(_obeys_nothing, "", "all lie in the vocabulary"),
}
