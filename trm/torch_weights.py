"""Weights of the original PyTorch program: what enters is its state dict, what leaves are our weights, and back.

One table leads from the paths of our tree to the original's keys. It holds for every tree of that shape: weights,
gradients, moments, moving averages.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from trm.checkpoint import Weights
from trm.errors import InputError


class Original(NamedTuple):
    """Where the original keeps one of our arrays."""

    key: str
    transposed: bool = False
    """The original stores every linear weight as (out, in); most of ours are (in, out)."""


# "#" stands for the number of a block.
_ORIGINALS = {
    "model.embed_tokens": Original("inner.embed_tokens.embedding_weight"),
    "model.embed_positions": Original("inner.embed_pos.embedding_weight"),
    "model.recursion.initial.z_H": Original("inner.H_init"),
    "model.recursion.initial.z_L": Original("inner.L_init"),
    "model.lm_head": Original("inner.lm_head.weight", transposed=True),
    "model.q_head.weight": Original("inner.q_head.weight", transposed=True),
    "model.q_head.bias": Original("inner.q_head.bias"),
    "puzzle_table": Original("inner.puzzle_emb.weights"),
} | {
    f"model.recursion.network.blocks.#.{ours}": Original(f"inner.L_level.layers.#.{theirs}.weight", transposed)
    for ours, theirs, transposed in (
        ("mixer.attention.qkv", "self_attn.qkv_proj", True),
        ("mixer.attention.out", "self_attn.o_proj", True),
        ("mixer.mlp.gate_up", "mlp_t.gate_up_proj", True),
        ("mixer.mlp.down", "mlp_t.down_proj", False),
        ("mlp.gate_up", "mlp.gate_up_proj", True),
        ("mlp.down", "mlp.down_proj", False),
    )
}


def original_of(path: str) -> Original:
    """Look up where the original keeps the array at a path of `Weights`, such as `model.q_head.bias`."""
    block = re.search(r"(?<=\.blocks\.)\d+", path)
    if block is None:
        return _ORIGINALS[path]
    original = _ORIGINALS[path.replace(f".blocks.{block[0]}.", ".blocks.#.")]
    return original._replace(key=original.key.replace("#", block[0]))


def from_state_dict(state_dict: Mapping[str, np.ndarray], like: Weights) -> Weights:
    """Turn a state dict of the original into weights with the shapes and dtypes of `like`, as host arrays.

    `like` may be abstract. Keys may begin as in a bare model, inside the loss head (`model.`) or in the checkpoint of a
    compiled training run (`_orig_mod.model.`). Raises InputError, naming the tensor, for one that is missing, left over
    or of another shape.
    """
    tensors = {key.removeprefix("_orig_mod.").removeprefix("model."): tensor for key, tensor in state_dict.items()}

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
        return (tensor.T if transposed else tensor).astype(leaf.dtype)

    weights = jax.tree.map_with_path(take, like)
    if tensors:
        key, tensor = next(iter(sorted(tensors.items())))
        raise InputError(f"{key}: found a tensor of shape {tensor.shape}, expected none: the model has no place for it")
    return weights


def to_state_dict(weights: Weights) -> dict[str, np.ndarray]:
    """Turn weights, or any tree of their shape, into a state dict of the original's bare model.

    Leaves that are None, as in the place of what is not trained, are left out.
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
