"""Safetensors files: named arrays and text metadata, written whole or not at all.

Entry: `write_safetensors`, `read_safetensors`, and `read_header` for names, dtypes and shapes without the numbers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from trm.errors import InputError
from trm.storage.files import atomic_write

_DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I32": np.dtype(np.int32),
    "BOOL": np.dtype(bool),
    # In files of other programs.
    "F16": np.dtype(np.float16),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}


class Header(NamedTuple):
    """The header of a file: everything but the numbers."""

    arrays: dict[str, tuple[str, tuple[int, ...]]]
    """Name of the dtype, and shape, of each array."""
    text: dict[str, str]
    """Text metadata."""


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray], text: Mapping[str, str]) -> None:
    """Write named arrays and text metadata; the file appears whole or not at all.

    Raises InputError when the file cannot be written.
    """
    with atomic_write(path) as temporary:
        try:
            # The library writes from the arrays' own memory: a state of gigabytes is not held twice.
            safetensors.numpy.save_file(dict(arrays), temporary, metadata=dict(text))
        except safetensors.SafetensorError as error:
            # The library reports an error of the system, such as a full disk, as its own.
            raise InputError(f"{path}: cannot write: {error}") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read named arrays and text metadata.

    Raises InputError, naming the file, for one that is missing or damaged, and for dtypes that NumPy does not have.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        tensors = safetensors.deserialize(data)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from error
    arrays = {}
    for name, tensor in tensors:
        dtype = _dtype(path, name, tensor["dtype"])
        try:
            arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
        except ValueError as error:  # An empty array may have a shape of any numbers, such as (0, 2^62).
            shape = tuple(tensor["shape"])
            raise InputError(f"{path}: {name}: found shape {shape}, expected one that NumPy can hold") from error
    # The library returns text metadata only for an open file. The header, which it has checked, holds it too.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__") or {}


def read_header(path: str | Path) -> Header:
    """Read names, dtypes, shapes and text metadata, and no numbers; errors as by `read_safetensors`."""
    path = Path(path)
    try:
        # The library does not say why it cannot open a file; Python does.
        with path.open("rb"):
            pass
        with safetensors.safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            arrays = {
                name: (_dtype(path, name, part.get_dtype()).name, tuple(part.get_shape()))
                for name, part in slices.items()
            }
            return Header(arrays, file.metadata() or {})
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from error


def _dtype(path: Path, name: str, found: str) -> np.dtype:
    if found not in _DTYPES:
        raise InputError(f"{path}: {name}: found dtype {found}, expected one of {', '.join(_DTYPES)}")
    return _DTYPES[found]
