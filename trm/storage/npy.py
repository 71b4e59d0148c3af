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
from typing import Any

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
_MAGIC = b"\x93NUMPY"
DAMAGED_ARCHIVE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile)
"""Errors of a damaged zip archive: in its directory, names, compression or encryption."""


def map_npy(path: Path) -> np.ndarray:
    """Map the array of a file into memory; raise InputError, naming the file, where it is none."""
    try:
        with _quiet():
            with path.open("rb") as file:
                _begins_like_array(file)
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
    arrays, others = {}, []
    try:
        with _quiet(), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    if _begins_like_array(file):
                        arrays[name.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
                    else:
                        others.append(name)
    except (*DAMAGED_ARCHIVE, *_MALFORMED, zlib.error) as error:
        raise InputError(f"{path}: not a whole .npz file: {_first_line(error)}") from error
    if others:
        raise InputError(f"{path}: {others[0]!r:.80}: found no array, expected one in NumPy's format")
    return arrays


def _begins_like_array(file: Any) -> bool:
    """Return whether a binary file begins like an array, and go back to its start.

    Raises ValueError for elements of no bytes and for negative sizes: NumPy's compiled code divides by them.
    """
    begins = file.read(len(_MAGIC)) == _MAGIC
    file.seek(0)
    if begins:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.itemsize == 0 or min(shape, default=0) < 0:
            raise ValueError(f"found elements of {dtype.itemsize} bytes in shape {shape}")
        file.seek(0)
    return begins


@contextmanager
def _quiet() -> Iterator[None]:
    """Read a header of Python 2, which is understood, without NumPy's advice to save the file again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required", UserWarning)
        yield


def _first_line(error: Exception) -> str:
    return f"{str(error).splitlines()[0]:.200}" if str(error).strip() else type(error).__name__
