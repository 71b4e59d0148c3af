"""Puzzle sets in memory, as arrays or memory maps. Entry: `PuzzleSet`, `PuzzleSet.from_arrays`."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Num

from trm.errors import InputError
from trm.puzzles.metadata import Metadata


class StoredAugmentations(NamedTuple):
    """The augmentation of each puzzle, where only the examples of its original are stored."""

    transforms: Integer[np.ndarray, " puzzles"]
    colors: Integer[np.ndarray, "puzzles 10"]


@dataclasses.dataclass(frozen=True)
class PuzzleArrays:
    """The arrays of one named set of a split.

    Puzzle i has the examples `puzzle_indices[i]` to `puzzle_indices[i + 1]`, group j the puzzles `group_indices[j]` to
    `group_indices[j + 1]`, ends excluded. `stored` is the number of stored examples.
    """

    inputs: Integer[np.ndarray, "stored seq_len"]
    labels: Integer[np.ndarray, "stored seq_len"]
    puzzle_identifiers: Integer[np.ndarray, " puzzles"]
    puzzle_indices: Integer[np.ndarray, " puzzle_bounds"]
    group_indices: Integer[np.ndarray, " group_bounds"]
    online_augmentation: bool = False
    """Whether the loader augments a puzzle when it draws it."""
    first_examples: Integer[np.ndarray, " puzzles"] | None = None
    """Row of the tokens where the examples of each puzzle begin; None: its `puzzle_indices`."""
    stored_augmentations: StoredAugmentations | None = None
    """Augmentations that make each puzzle's examples from stored ones; None: every example is stored."""
    ratings: Integer[np.ndarray, " groups"] | None = None
    """Difficulty of each original puzzle, in the unit of its source; None: not known."""

    @property
    def examples(self) -> int:
        """Examples of all puzzles, stored or made when they are drawn."""
        return int(self.puzzle_indices[-1])

    def stored_at(
        self, examples: Integer[np.ndarray, " batch"], puzzles: Integer[np.ndarray, " batch"]
    ) -> Integer[np.ndarray, " batch"]:
        """Return the rows of the tokens that hold examples, given the puzzle of each."""
        if self.first_examples is None:
            return examples
        return self.first_examples[puzzles] + examples - self.puzzle_indices[puzzles]

    @property
    def groups(self) -> int:
        return len(self.group_indices) - 1

    def example_ratings(self) -> Integer[np.ndarray, " examples"] | None:
        """Return the difficulty of each example, that of its original puzzle."""
        if self.ratings is None:
            return None
        return np.repeat(self.ratings, np.diff(np.asarray(self.puzzle_indices)[self.group_indices]))


@dataclasses.dataclass(frozen=True)
class PuzzleSet:
    """One split of a puzzle set."""

    name: str
    """Origin of the set, for messages."""
    metadata: Metadata
    sets: Mapping[str, PuzzleArrays]

    @property
    def examples(self) -> int:
        return sum(arrays.examples for arrays in self.sets.values())

    @staticmethod
    def from_arrays(
        inputs: Num[np.ndarray, "..."],
        labels: Num[np.ndarray, "..."],
        vocab_size: int,
        *,
        puzzles: Num[np.ndarray, "..."] | None = None,
        groups: Num[np.ndarray, "..."] | None = None,
        puzzle_identifiers: Num[np.ndarray, "..."] | None = None,
        num_puzzle_identifiers: int | None = None,
        ratings: Num[np.ndarray, "..."] | None = None,
        pad_id: int = 0,
        ignore_label_id: int | None = 0,
    ) -> "PuzzleSet":
        """Make one split of a puzzle set from arrays of tokens.

        `inputs` and `labels` have shape (examples, seq_len). Token `pad_id` fills up batches. Labels that equal
        `ignore_label_id` count neither in the loss nor in a metric.

        `puzzles` (examples,) is the number of each example's puzzle, `groups` (puzzles,) that of each puzzle's
        original: numbers from 0, in order, without gaps. By default each example is a puzzle and each puzzle a group.
        `puzzle_identifiers` (puzzles,) choose rows of the puzzle embedding; by default all are 0, the blank one.
        `ratings` (groups,) are the difficulties of the originals, for accuracy by difficulty.

        Raises InputError, naming array and row, for shapes that do not fit together, tokens outside the vocabulary,
        numbers out of order, and arrays that are not integers.
        """
        given = {"inputs": inputs, "labels": labels, "puzzles": puzzles, "groups": groups}
        for field, array in (given | {"puzzle_identifiers": puzzle_identifiers, "ratings": ratings}).items():
            if array is not None and not np.issubdtype(array.dtype, np.integer):
                raise InputError(f"{field}: found {array.dtype}, expected integers")
        if inputs.ndim != 2 or inputs.shape != labels.shape or not inputs.size:
            raise InputError(f"inputs and labels: found shapes {inputs.shape} and {labels.shape}, expected two alike")
        if not 2 <= vocab_size <= 256:
            raise InputError(f"vocab_size: found {vocab_size}, expected 2 to 256 (tokens are stored as bytes)")
        for field, tokens in (("inputs", inputs), ("labels", labels)):
            outside = np.argwhere((tokens < 0) | (tokens >= vocab_size))
            if len(outside):
                row, column = outside[0]
                raise InputError(
                    f"{field}: example {row}: found token {tokens[row, column]}, expected 0 to {vocab_size - 1}"
                )
        puzzle_indices = _bounds("puzzles", puzzles, len(inputs))
        group_indices = _bounds("groups", groups, len(puzzle_indices) - 1)
        if puzzle_identifiers is None:
            puzzle_identifiers = np.zeros(len(puzzle_indices) - 1, np.int32)
        if len(puzzle_identifiers) != len(puzzle_indices) - 1:
            raise InputError(f"puzzle_identifiers: found {len(puzzle_identifiers)}, expected {len(puzzle_indices) - 1}")
        highest = int(puzzle_identifiers.max())
        num_puzzle_identifiers = highest + 1 if num_puzzle_identifiers is None else num_puzzle_identifiers
        if puzzle_identifiers.min() < 0 or highest >= num_puzzle_identifiers:
            found = f"{puzzle_identifiers.min()} to {highest}"
            raise InputError(f"puzzle_identifiers: found {found}, expected 0 to {num_puzzle_identifiers - 1}")
        groups_shape = (len(group_indices) - 1,)
        if ratings is not None and ratings.shape != groups_shape:
            raise InputError(f"ratings: found shape {ratings.shape}, expected {groups_shape}")
        metadata = Metadata(
            pad_id=pad_id,
            ignore_label_id=ignore_label_id,
            blank_identifier_id=0,
            vocab_size=vocab_size,
            seq_len=inputs.shape[1],
            num_puzzle_identifiers=num_puzzle_identifiers,
            total_groups=len(group_indices) - 1,
            mean_puzzle_examples=len(inputs) / (len(puzzle_indices) - 1),
            total_puzzles=len(puzzle_indices) - 1,
            sets=["all"],
            kind="other",
        )
        arrays = PuzzleArrays(inputs, labels, puzzle_identifiers, puzzle_indices, group_indices, ratings=ratings)
        return PuzzleSet("arrays", metadata, {"all": arrays})


def _bounds(name: str, owners: Integer[np.ndarray, "..."] | None, items: int) -> Integer[np.ndarray, " bounds"]:
    """Return where each owner's items begin and end."""
    if owners is None:
        return np.arange(items + 1, dtype=np.int32)
    if owners.shape != (items,):
        raise InputError(f"{name}: found shape {owners.shape}, expected {(items,)}")
    steps = np.diff(owners, prepend=0)
    steps[0] = 1 if owners[0] == 0 else 2  # The first must be 0.
    wrong = np.flatnonzero((steps != 0) & (steps != 1))
    if len(wrong):
        row = wrong[0]
        before = owners[row - 1] if row else "nothing"
        raise InputError(f"{name}: row {row}: found {owners[row]} after {before}, expected 0, 1, 2, ... in order")
    return np.r_[np.flatnonzero(steps), items].astype(np.int32)
