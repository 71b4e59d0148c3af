"""NumPy's values in files of `torch.save`: training states hold arrays and numbers beside their tensors.

NumPy's own types take a state from a pickle unchecked: a type of integers whose state says that it holds objects makes
NumPy follow the integers as addresses. Classes of ours stand in for them here. Entry: `STAND_INS`.
"""

from typing import Any

import numpy as np

_NUMBERS = "?bBhHiIlLqQefdFD"
"""Codes of the types of numbers."""


class StoredType:
    """A type of numbers, or one of anything else, which is not read."""

    def __init__(self, code: Any, *_: Any):
        self.dtype: np.dtype | None = None
        if isinstance(code, str) and len(code) < 10:
            found = np.dtype(code)
            self.dtype = found if found.char in _NUMBERS else None

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, ...): nothing else of it describes a number.
        if self.dtype is not None and state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class StoredArray:
    """An array, which is never part of the weights: they are tensors. Its numbers are not read."""

    def __init__(self, *_: Any):
        self.shape: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.shape = state[1]

    def __repr__(self) -> str:
        return f"an array of NumPy of shape {self.shape}"


def stored_array(*_: Any) -> StoredArray:
    """Return an array that waits for its state."""
    return StoredArray()


def stored_number(dtype: Any, data: Any = None) -> Any:
    """Return a number, as a number of Python; None for other values."""
    if not isinstance(dtype, StoredType) or dtype.dtype is None or not isinstance(data, bytes):
        return None
    return np.frombuffer(data, dtype.dtype, count=1)[0].item()


STAND_INS: list[tuple[Any, str]] = [
    (StoredType, "numpy.dtype"),
    (StoredArray, "numpy.ndarray"),
    *((stored_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((stored_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What torch's loader calls for the names in a pickle, as `torch.serialization.safe_globals` takes them."""
