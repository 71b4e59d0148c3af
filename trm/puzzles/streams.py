"""Streams of random numbers: a different one for each purpose and key. Entry: `random_stream`."""

from enum import IntEnum

import numpy as np

MOST_KEYS = 3
"""Largest number of integers in a key."""


class Purpose(IntEnum):
    """Purposes of streams, each with the integers of its key. The numbers are part of every seed: do not reuse one."""

    GROUPS = 0
    """Order of the groups of an epoch, and the puzzle of each: set, epoch."""
    EXAMPLES = 1
    """Examples of the puzzles of a training batch: step."""
    AUGMENTATION = 2
    """Online augmentation of a training batch: step."""
    VALIDATION = 3
    """Groups that are held back from training."""
    ARC_ORDER = 4
    """Order of the tasks of a subset: subset."""
    ARC_AUGMENTATIONS = 5
    """Augmentations of a task: subset, task."""
    ARC_OFFSETS = 6
    """Places of the pairs of some puzzles: group, first puzzle."""
    SUDOKU = 7
    """A generated Sudoku: side, number."""
    MAZE = 8
    """A block of generated mazes: side, number."""


def random_stream(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """Return the generator of a seed, a purpose and a key."""
    return np.random.default_rng(seed_sequence(seed, purpose, *key))


def seed_sequence(seed: int, purpose: Purpose, *key: int) -> np.random.SeedSequence:
    """Return the seed of a stream.

    NumPy pads seeds with zeros, so that (1, 2) and (1, 2, 0) are the same seed. Here all spawn keys have the same
    length: the purpose, the length of the key, and two words of 32 bits for each of its numbers.
    """
    if len(key) > MOST_KEYS:
        raise ValueError(f"key: found {len(key)} numbers, expected at most {MOST_KEYS}")
    words = [word for number in (*key, *[0] * (MOST_KEYS - len(key))) for word in divmod(number, 2**32)]
    return np.random.SeedSequence(entropy=seed, spawn_key=(int(purpose), len(key), *words))
