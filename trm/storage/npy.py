"""NumPy files, read without executing anything: one array (.npy), or several by name (.npz).

Entry: `map_npy`, `read_npz`.
"""

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np

from trm.errors import InputError

_MALFORMED = (
    ValueError,
    EOFError,
    SyntaxError,
    TokenError,
    OverflowError,
    TypeError,
    KeyError,
    AttributeError,
    MemoryError,
    RecursionError,
)
"""Errors of NumPy for malformed headers, and for impossible types and sizes."""
DAMAGED_ARCHIVE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile)
"""Errors of a damaged zip archive: in its directory, names, compression or encryption."""


def map_npy(path: Path) -> np.ndarray:
    """Map the array of a file into memory; raise InputError, naming the file, where it is none."""
    try:
        with _quiet():
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    except _MALFORMED as error:
        raise InputError(f"{path}: not a whole .npy file: {_first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: found an archive of arrays, expected a single .npy array")
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an archive; raise InputError, naming the file, for damage and for a member that is no array.

    The caller compares the unpacked size with the file's.
    """
    arrays = {}
    try:
        with _quiet(), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = archive[name]
    except (*DAMAGED_ARCHIVE, *_MALFORMED, zlib.error) as error:
        raise InputError(f"{path}: not a whole .npz file: {_first_line(error)}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy returns the bytes of a member that does not begin like an array.
            raise InputError(f"{path}: {name!r:.80}: found {len(array):,} bytes, expected an array in NumPy's format")
    return arrays


@contextmanager
def _quiet() -> Iterator[None]:
    """Read a header of Python 2, which is understood, without NumPy's advice to save the file again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required", UserWarning)
        yield


def _first_line(error: Exception) -> str:
    return f"{str(error).splitlines()[0]:.200}" if str(error).strip() else type(error).__name__
