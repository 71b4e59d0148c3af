"""Augmentation in the loader: what a set that is augmented online stores, and whose draws are whose.

A set that is augmented online (`Metadata.online_augmentation`) has the distribution of a stored one with endlessly many
augmentations; its `PuzzleKind` draws and augments. All random numbers are drawn for the whole batch, whichever process
reads which part: a batch is a function of seed and step on any number of processes.
"""

import numpy as np
from jaxtyping import Integer

from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.kind import Draws


def take(draws: Draws | None, part: slice) -> Draws | None:
    """Take the draws of some of the examples."""
    return None if draws is None else type(draws)(*(field[part] for field in draws))


def stored_examples(
    arrays: PuzzleArrays, examples: Integer[np.ndarray, " batch"], puzzles: Integer[np.ndarray, " batch"]
) -> Integer[np.ndarray, " batch"]:
    """Return where examples are stored: with `StoredAugmentations` those of a puzzle are stored for its original."""
    if arrays.stored_augmentations is None:
        return examples
    return arrays.stored_augmentations.first_examples[puzzles] + examples - arrays.puzzle_indices[puzzles]
