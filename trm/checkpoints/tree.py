"""Trees of arrays by name: the path of each leaf, such as `model.q_head.bias`, is its name in a file."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from trm.errors import InputError

T = TypeVar("T")


def name_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths, such as `model.q_head.bias`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def fill(where: str, like: T, arrays: Mapping[str, np.ndarray]) -> T:
    """Return a tree like `like` that holds the arrays.

    Raises InputError, beginning with `where`, for an array that is missing, left over, or of another shape or dtype.
    """
    expected = name_leaves(like)
    for name, leaf in expected.items():
        if name not in arrays:
            raise InputError(f"{where}: {name}: missing")
        array = arrays[name]
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise InputError(
                f"{where}: {name}: found {array.dtype.name} {array.shape}, "
                f"expected {jnp.dtype(leaf.dtype).name} {leaf.shape}"
            )
    if extra := sorted(arrays.keys() - expected.keys()):
        raise InputError(f"{where}: {extra[0]}: found an array that a model of the file's configuration does not have")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def widen(arrays: Mapping[str, np.ndarray], like: Any) -> dict[str, np.ndarray]:
    """Return the arrays; convert bfloat16 arrays that are float32 in `like` to float32."""
    expected = name_leaves(like)

    def was_rounded(name: str, array: np.ndarray) -> bool:
        return array.dtype == ml_dtypes.bfloat16 and name in expected and expected[name].dtype == np.float32

    return {name: array.astype(np.float32) if was_rounded(name, array) else array for name, array in arrays.items()}


def to_bfloat16(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round float32 arrays to bfloat16, which takes half the space."""
    return {name: a.astype(ml_dtypes.bfloat16) if a.dtype == np.float32 else a for name, a in arrays.items()}
