"""Mutations of good inputs. Entry: `mutate`."""

import random
from collections.abc import Sequence

from fuzz.structure import change_structure

TOKENS = [
    *(b"[", b"]", b"{", b"}", b'"', b":", b",", b"=", b"..", b"../../x", b"null", b"true", b"-1", b"1e400", b"NaN"),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b", b"\r\n", b"\n\n", b"\t", b"\x1b[31m", b"\\ud800", b"%s"),
    *(b"0x10", b"<blank>", b"9" * 30, b"9" * 5000, b"[" * 4000, b"{" * 900, b'{"a":' * 2000),
]
"""Texts that readers stumble over."""


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds after mutations of its structure, where it has a known one, or of its bytes, or both."""
    return mutate_one(rng, rng.choice(seeds), seeds)


def mutate_one(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Return the data after up to eight mutations, a part of them taken from the seeds."""
    if rng.random() < 0.7 and (changed := change_structure(rng, data, _change_bytes)) is not None:
        # One change is more often read than several.
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            changed = change_structure(rng, changed, _change_bytes) or changed
        if rng.random() < 0.8:
            return changed
        data = changed
    return _change_bytes(rng, data, seeds)


def _change_bytes(rng: random.Random, data: bytes, seeds: Sequence[bytes] = (b"",)) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _of_bytes(rng, changed, seeds)
    return bytes(changed)


def _of_bytes(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    until = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
    way = rng.randrange(7)
    if way == 0 and data:
        data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
    elif way == 1 and data:
        data[min(at, len(data) - 1)] = rng.randrange(256)
    elif way == 2:
        del data[at:until]
    elif way == 3:
        data[at:at] = rng.choice(TOKENS)
    elif way == 4:
        data[at:at] = data[at:until] * rng.choice((1, 2, 50))
    elif way == 5:
        other = rng.choice(seeds)
        cut = rng.randrange(len(other) + 1)
        data[at:] = other[cut:]
    else:
        del data[at:]
