"""Validation puzzles, held back from training. Entry: `hold_back`."""

import dataclasses

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet, StoredAugmentations
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.streams import Purpose, random_stream


def hold_back(train_set: PuzzleSet, groups: int, seed: int, has_embeddings: bool = True) -> tuple[PuzzleSet, PuzzleSet]:
    """Return the training set without some groups, drawn at random, and the originals of these groups.

    Of a group that is held back, no augmentation stays in training, and validation uses only the original as stored,
    the first puzzle of the group. The choice depends on the seed alone. Two groups that are the same puzzle up to a
    symmetry are two groups. Tokens stay memory-mapped.

    Raises InputError, naming `data.validation`, for more groups than there are, and, where the model has puzzle
    embeddings, for held-back groups with an identifier that no training puzzle has, such as tasks of ARC.
    """
    counts = [arrays.groups for arrays in train_set.sets.values()]
    total = sum(counts)
    if kind_of(train_set.metadata).solved_from == "tasks":
        raise InputError(
            f"data.validation: found {groups} with {train_set.name}, expected 0: a task that is held back has a puzzle "
            f"embedding that is never trained"
        )
    if not 0 < groups < total:
        raise InputError(f"data.validation: found {groups}, expected fewer than the {total} groups of {train_set.name}")
    held_back = np.zeros(total, dtype=bool)
    held_back[random_stream(seed, Purpose.VALIDATION).choice(total, groups, replace=False)] = True
    kept, held = {}, {}
    for (name, arrays), of_set in zip(train_set.sets.items(), np.split(held_back, np.cumsum(counts)[:-1]), strict=True):
        if not of_set.all():
            kept[name] = _take_groups(arrays, np.flatnonzero(~of_set))
        if of_set.any():
            originals = _take_groups(arrays, np.flatnonzero(of_set), first_puzzles_only=True)
            held[name] = dataclasses.replace(originals, online_augmentation=False)
    trained = {int(i) for arrays in kept.values() for i in np.unique(arrays.puzzle_identifiers)}
    untrained = [int(i) for arrays in held.values() for i in np.unique(arrays.puzzle_identifiers) if i not in trained]
    if untrained and has_embeddings:
        raise InputError(
            f"data.validation: found {groups} with {train_set.name}, expected 0: puzzle identifier {untrained[0]} "
            f"would never be trained"
        )
    return _describe(train_set, kept, train_set.name), _describe(train_set, held, f"{train_set.name} (validation)")


def _take_groups(
    arrays: PuzzleArrays, groups: Integer[np.ndarray, " groups"], first_puzzles_only: bool = False
) -> PuzzleArrays:
    """Return some groups of a set; only index arrays are copied."""
    puzzle_indices = np.asarray(arrays.puzzle_indices, dtype=np.int64)
    group_indices = np.asarray(arrays.group_indices, dtype=np.int64)
    starts = group_indices[groups]
    sizes = np.ones_like(starts) if first_puzzles_only else group_indices[groups + 1] - starts
    puzzles = _ranges(starts, sizes)
    first_examples = puzzle_indices[:-1] if arrays.first_examples is None else arrays.first_examples
    stored = arrays.stored_augmentations
    return dataclasses.replace(
        arrays,
        puzzle_identifiers=arrays.puzzle_identifiers[puzzles],
        puzzle_indices=np.cumsum(np.r_[0, np.diff(puzzle_indices)[puzzles]]),
        group_indices=np.cumsum(np.r_[0, sizes]),
        first_examples=first_examples[puzzles],
        stored_augmentations=None if stored is None else StoredAugmentations(*(field[puzzles] for field in stored)),
        ratings=None if arrays.ratings is None else arrays.ratings[groups],
    )


def _ranges(
    starts: Integer[np.ndarray, " ranges"], sizes: Integer[np.ndarray, " ranges"]
) -> Integer[np.ndarray, " numbers"]:
    """Return the numbers of all ranges: start, start + 1 and so on, `size` of each."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - ends + sizes, sizes)


def _describe(whole: PuzzleSet, sets: dict[str, PuzzleArrays], name: str) -> PuzzleSet:
    metadata = whole.metadata
    groups = sum(arrays.groups for arrays in sets.values())
    puzzles = sum(len(arrays.puzzle_identifiers) for arrays in sets.values())
    per_epoch = sum(arrays.groups * arrays.examples / len(arrays.puzzle_identifiers) for arrays in sets.values())
    metadata = dataclasses.replace(
        metadata,
        total_groups=groups,
        # The original counts groups as puzzles where all puzzles of a group are alike.
        total_puzzles=groups if metadata.total_puzzles == metadata.total_groups else puzzles,
        mean_puzzle_examples=per_epoch / groups,
        sets=list(sets),
        online_augmentation=any(arrays.online_augmentation for arrays in sets.values()),
    )
    return PuzzleSet(name, metadata, sets)
