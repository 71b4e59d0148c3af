"""State dicts of the original PyTorch program to our weights, and back.

Entry: `from_state_dict`, `to_state_dict`. One table maps the paths of our tree to the original's keys, for every
recursion, and for every tree of that shape: weights, gradients, moments, moving averages.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from trm.errors import InputError
from trm.model.weights import Weights
from trm.original.names import bare

PUZZLE_TABLE = "inner.puzzle_emb.weights"
"""The original's name of the puzzle embeddings."""


COMPILED_PREFIX = "_orig_mod.model."
"""Prefix of the names in a checkpoint of the original: a compiled model inside its loss head."""


class Original(NamedTuple):
    """The place of one of our arrays in the original's state dict."""

    key: str
    transposed: bool = False
    """Whether to transpose: the original stores every linear weight as (out, in), we store most as (in, out)."""


_NETWORKS = {"network": "L_level", "L_network": "L_level", "H_network": "H_level"}
_LATENTS = {"z_H": "H_init", "z_L": "L_init"} | {f"z_L{i}": f"L{i}_init" for i in range(1, 7)}
_LAYERS = {
    "mixer.attention.qkv": Original("self_attn.qkv_proj.weight", transposed=True),
    "mixer.attention.out": Original("self_attn.o_proj.weight", transposed=True),
    "mixer.mlp.gate_up": Original("mlp_t.gate_up_proj.weight", transposed=True),
    "mixer.mlp.down": Original("mlp_t.down_proj.weight"),
    "mlp.gate_up": Original("mlp.gate_up_proj.weight", transposed=True),
    "mlp.down": Original("mlp.down_proj.weight"),
}
# "#" stands for the number of a block.
_ORIGINALS = (
    {
        "model.embed_tokens": Original("inner.embed_tokens.embedding_weight"),
        "model.embed_positions": Original("inner.embed_pos.embedding_weight"),
        "model.lm_head": Original("inner.lm_head.weight", transposed=True),
        "model.q_head.weight": Original("inner.q_head.weight", transposed=True),
        "model.q_head.bias": Original("inner.q_head.bias"),
        "puzzle_table": Original(PUZZLE_TABLE),
    }
    | {f"model.recursion.initial.{ours}": Original(f"inner.{theirs}") for ours, theirs in _LATENTS.items()}
    | {
        f"model.recursion.{ours}.blocks.#.{path}": layer._replace(key=f"inner.{theirs}.layers.#.{layer.key}")
        for ours, theirs in _NETWORKS.items()
        for path, layer in _LAYERS.items()
    }
)


def original_of(path: str) -> Original:
    """Return the original's place of the array at a path of `Weights`, such as `model.q_head.bias`."""
    block = re.search(r"(?<=\.blocks\.)\d+", path)
    if block is None:
        return _ORIGINALS[path]
    original = _ORIGINALS[path.replace(f".blocks.{block[0]}.", ".blocks.#.")]
    return original._replace(key=original.key.replace("#", block[0]))


def names_in(like: Weights) -> set[str]:
    """Return the original's names of the arrays of weights, which may be abstract."""
    return {_original_at(path).key for path, leaf in jax.tree.leaves_with_path(like) if leaf.size}


def from_state_dict(state_dict: Mapping[str, np.ndarray], like: Weights) -> Weights:
    """Convert a state dict of the original to weights with the shapes and dtypes of `like`, as host arrays.

    `like` may be abstract. Raises InputError, naming the tensor, when it is missing, left over, of another shape, or of
    a dtype that would lose digits.
    """
    tensors = bare(state_dict)

    def take(path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct | jax.Array | np.ndarray) -> np.ndarray:
        if not leaf.size:  # Without a puzzle embedding the original has no table at all.
            return np.zeros(leaf.shape, leaf.dtype)
        key, transposed = _original_at(path)
        shape = leaf.shape[::-1] if transposed else leaf.shape
        if key not in tensors:
            raise InputError(f"{key}: missing, expected shape {shape}")
        tensor = tensors.pop(key)
        if tensor.shape != shape:
            raise InputError(f"{key}: found shape {tensor.shape}, expected {shape}")
        converted = tensor.astype(leaf.dtype)
        if converted.dtype != tensor.dtype and not np.array_equal(converted.astype(tensor.dtype), tensor):
            found, expected = tensor.dtype.name, np.dtype(leaf.dtype).name
            raise InputError(f"{key}: found {found} numbers that {expected} cannot hold (model.forward_dtype)")
        return converted.T if transposed else converted

    weights = jax.tree.map_with_path(take, like)
    if tensors:
        key, tensor = next(iter(sorted(tensors.items())))
        raise InputError(f"{key}: found a tensor of shape {tensor.shape}, expected none: the model does not have it")
    return weights


def to_state_dict(weights: Weights) -> dict[str, np.ndarray]:
    """Convert weights, or any tree of their structure, to a state dict of the original's bare model.

    Leaves that are None, such as gradients of constants, are left out.
    """
    tensors = {}
    for path, leaf in jax.tree.leaves_with_path(weights):
        if leaf.size:
            key, transposed = _original_at(path)
            array = np.asarray(leaf)
            tensors[key] = np.ascontiguousarray(array.T) if transposed else array
    return tensors


def _original_at(path: jax.tree_util.KeyPath) -> Original:
    return original_of(jax.tree_util.keystr(path, simple=True, separator="."))
