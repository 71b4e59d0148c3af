"""Streams of random numbers: no two of them are the same."""

import itertools

import numpy as np
import pytest

from trm.puzzles.streams import MOST_KEYS, Purpose, random_stream


def test_every_key_has_a_stream_of_its_own():
    keys = [key for length in range(MOST_KEYS + 1) for key in itertools.product((0, 1, 2**32), repeat=length)]
    streams = {
        (seed, purpose, key): random_stream(seed, purpose, *key).bytes(16)
        for seed in (0, 1)
        for purpose in Purpose
        for key in keys
    }
    assert len(set(streams.values())) == len(streams) == 2 * len(Purpose) * 40


def test_seeds_of_tuples_collide_and_these_do_not():
    """What NumPy does with tuples is why there are spawn keys of one length."""
    assert np.random.default_rng((5, 0, 1)).bytes(16) == np.random.default_rng((5, 0, 1, 0)).bytes(16)
    assert random_stream(5, Purpose.GROUPS, 1).bytes(16) != random_stream(5, Purpose.GROUPS, 1, 0).bytes(16)
    assert random_stream(5, Purpose.GROUPS, 1).bytes(16) == random_stream(5, Purpose.GROUPS, 1).bytes(16)


def test_too_long_a_key():
    with pytest.raises(ValueError, match="key: found 4 numbers"):
        random_stream(0, Purpose.GROUPS, 1, 2, 3, 4)
