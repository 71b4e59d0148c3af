"""Mutations of what a tensor file holds: it is read, one value or array changes, and it is written again.

Such a file is whole, whatever it holds: it reaches the code behind the readers of bytes. Entry: `change_tensors`.
"""

import io
import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from fuzz.trees import change_tree

_TYPES = ("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool", "complex64")


def change_tensors(rng: random.Random, data: bytes) -> bytes | None:
    """Return the file with one value changed; None for one that its library does not read."""
    try:
        if data[8:9] == b"{":
            return _change_safetensors(rng, data)
        if b"data.pkl" in data or data.startswith(b"\x80"):
            return _change_torch(rng, data)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **_arrays_in(_changed(rng, arrays)))
        return file.getvalue()
    except Exception:  # A file that was damaged before raises anything, and so does a value that has no place in one.
        return None


def _changed(rng: random.Random, tree: Any) -> Any:
    return change_tree(rng, tree, _other_array)


def _other_array(rng: random.Random, value: Any) -> Any:
    """Return another array for an array, and None for other values."""
    if not isinstance(value, np.ndarray):
        return None
    ways = [
        lambda: value.astype(rng.choice(_TYPES)),
        lambda: value.T,
        lambda: value.reshape(-1),
        lambda: value[None],
        lambda: value[:-1] if value.ndim else value,
        lambda: np.concatenate([value, value]) if value.ndim else value,
        lambda: value[..., :0] if value.ndim else value,
        lambda: np.zeros((), value.dtype),
        lambda: np.full_like(value, rng.choice((0, 1, 2, np.nan, np.inf, 3e38, -1e-45))),
        lambda: np.zeros(rng.choice(((0, 2**40), (1,) * 40, (6, 8), (1, 1), (3, 0, 5))), value.dtype),
    ]
    return np.ascontiguousarray(rng.choice(ways)())


def _arrays_in(values: Any) -> dict[str, Any]:
    return {name: np.asarray(value) for name, value in values.items()}


def _change_safetensors(rng: random.Random, data: bytes) -> bytes:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.numpy.save(_arrays_in(_changed(rng, safetensors.numpy.load(data))), header.get("__metadata__"))


def _change_torch(rng: random.Random, data: bytes) -> bytes:
    import torch

    def to_numpy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.numpy()
        if isinstance(value, Mapping):
            return {key: to_numpy(item) for key, item in value.items()}
        return [to_numpy(item) for item in value] if isinstance(value, list) else value

    def to_torch(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.array(value))
        if isinstance(value, dict):
            return {key: to_torch(item) for key, item in value.items()}
        return [to_torch(item) for item in value] if isinstance(value, list) else value

    loaded = to_numpy(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    file = io.BytesIO()
    zipped = data.startswith(b"PK")
    torch.save(to_torch(_changed(rng, loaded)), file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()
