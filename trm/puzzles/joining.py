"""Joining several puzzle sets into one. Entry: `join_puzzle_sets`."""

import dataclasses
from collections.abc import Sequence
from itertools import count

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.registry import kind_of


def join_puzzle_sets(parts: Sequence[PuzzleSet]) -> PuzzleSet:
    """Return one split of several puzzle sets as one; a name that is taken gets a number: `all`, `all1`, `all2`.

    The sets share the puzzle identifiers: build them with different `--puzzle-identifiers-start` if they must not.
    Raises InputError, naming directory and field, for sets that do not fit together.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0].metadata
    sets: dict[str, PuzzleArrays] = {}
    # A numbered name that a later set already has is not used.
    names = {name for part in parts for name in part.sets}
    for part in parts:
        for field in ("seq_len", "vocab_size", "pad_id", "ignore_label_id", "blank_identifier_id"):
            _require_same(part, parts[0], field, getattr(part.metadata, field), getattr(first, field))
        _require_same(part, parts[0], "kind", kind_of(part.metadata).name, kind_of(first).name)
        for name, arrays in part.sets.items():
            numbered = (f"{name}{i}" for i in count(1))
            unique = name if name not in sets else next(new for new in numbered if new not in sets and new not in names)
            sets[unique] = arrays
    groups = sum(part.metadata.total_groups for part in parts)
    metadata = dataclasses.replace(
        first,
        num_puzzle_identifiers=max(part.metadata.num_puzzle_identifiers for part in parts),
        total_groups=groups,
        mean_puzzle_examples=sum(part.metadata.examples_per_epoch for part in parts) / groups,
        total_puzzles=sum(part.metadata.total_puzzles for part in parts),
        sets=list(sets),
        online_augmentation=any(part.metadata.online_augmentation for part in parts),
    )
    return PuzzleSet(" + ".join(part.name for part in parts), metadata, sets)


def _require_same(part: PuzzleSet, first: PuzzleSet, field: str, found: object, expected: object) -> None:
    if found != expected:
        raise InputError(f"{part.name}: {field}: found {found}, expected {expected}, as in {first.name}")
