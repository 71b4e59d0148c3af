"""Validation puzzles: groups of a training set that are held back from training, to choose weights by.

Entry: `hold_back`.
"""

import dataclasses

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet

STREAM = 3
"""Tells the random numbers of this module from those of others with the same seed."""


def hold_back(train_set: PuzzleSet, groups: int, seed: int) -> tuple[PuzzleSet, PuzzleSet]:
    """Split a training set into what is trained on and so many groups to validate on, drawn at random.

    Of a group that is held back the first puzzle, the original, is kept; its augmentations are left out. Raises
    InputError when a set would be left without a group.
    """
    counts = [arrays.groups for arrays in train_set.sets.values()]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAM,)))
    if groups >= sum(counts):
        raise InputError(f"data.validation: found {groups}, expected fewer than the {sum(counts)} groups of the set")
    held = np.zeros(sum(counts), bool)
    held[rng.permutation(len(held))[:groups]] = True
    kept, validation = {}, {}
    bounds = np.cumsum([0, *counts])
    for (name, arrays), first, end in zip(train_set.sets.items(), bounds[:-1], bounds[1:], strict=True):
        of_set = held[first:end]
        if of_set.all():
            raise InputError(f"data.validation: found {groups}, which holds back all groups of {name}, expected fewer")
        kept[name] = _take(arrays, np.flatnonzero(~of_set), first_only=False)
        if of_set.any():
            validation[name] = _take(arrays, np.flatnonzero(of_set), first_only=True)
    return _with_sets(train_set, kept, ""), _with_sets(train_set, validation, " (validation)")


def _take(arrays: PuzzleArrays, groups: Integer[np.ndarray, " groups"], first_only: bool) -> PuzzleArrays:
    """Return some groups of a set, whole or the first puzzle of each."""
    bounds = np.asarray(arrays.group_indices, np.int64)
    starts, ends = bounds[groups], bounds[groups] + 1 if first_only else bounds[groups + 1]
    puzzles = _ranges(starts, ends)
    indices = np.asarray(arrays.puzzle_indices, np.int64)
    examples = _ranges(indices[puzzles], indices[puzzles + 1])
    recipe = arrays.stored_augmentations
    return dataclasses.replace(
        arrays,
        # With a recipe, puzzles say where their tokens are; then none are copied.
        inputs=arrays.inputs if recipe else arrays.inputs[examples],
        labels=arrays.labels if recipe else arrays.labels[examples],
        puzzle_identifiers=np.asarray(arrays.puzzle_identifiers)[puzzles],
        puzzle_indices=_bounds(indices[puzzles + 1] - indices[puzzles]),
        group_indices=_bounds(ends - starts),
        stored_augmentations=recipe and type(recipe)(*(np.asarray(field)[puzzles] for field in recipe)),
        ratings=None if arrays.ratings is None else np.asarray(arrays.ratings)[groups],
    )


def _ranges(starts: Integer[np.ndarray, " n"], ends: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " total"]:
    """Return the numbers from each start to before its end, one range after another."""
    sizes = ends - starts
    return np.repeat(starts - _bounds(sizes)[:-1], sizes) + np.arange(sizes.sum())


def _bounds(sizes: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " bounds"]:
    return np.concatenate([[0], np.cumsum(sizes)])


def _with_sets(puzzles: PuzzleSet, sets: dict[str, PuzzleArrays], mark: str) -> PuzzleSet:
    groups = sum(arrays.groups for arrays in sets.values())
    per_epoch = sum(arrays.groups * arrays.examples / len(arrays.puzzle_identifiers) for arrays in sets.values())
    metadata = dataclasses.replace(
        puzzles.metadata,
        total_groups=groups,
        mean_puzzle_examples=per_epoch / groups,
        total_puzzles=sum(len(arrays.puzzle_identifiers) for arrays in sets.values()),
        sets=list(sets),
    )
    return PuzzleSet(puzzles.name + mark, metadata, sets)
