"""Checks that tokens and puzzle identifiers are in their range. Entry: `check_range`."""

import numpy as np
from jaxtyping import Num

from trm.errors import InputError


def check_range(name: str, numbers: Num[np.ndarray, "..."], count: int) -> None:
    """Raise InputError, naming the first wrong number and its place, unless all are integers from 0 to `count` - 1.

    JAX itself would read the nearest row of a table instead.
    """
    if numbers.dtype.kind not in "iu":
        raise InputError(f"{name}: found {numbers.dtype}, expected integers from 0 to {count - 1}")
    outside = (numbers < 0) | (numbers >= count)
    if outside.any():
        place = np.unravel_index(int(outside.argmax()), numbers.shape)
        where = f"[{', '.join(map(str, place))}]" if place else ""
        raise InputError(f"{name}{where}: found {numbers[place]}, expected 0 to {count - 1}")
