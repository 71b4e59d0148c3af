"""Softmax attention over arrays (*batch, position, head, head_size) in the compute dtype.

Entry: `attend`, `attention_weights`, `rotate`, `rotate_on_grid`.
"""

import math
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trm.model.precision import pack, product, rounded_product, unpack


@lru_cache
def rotary_tables(
    positions: int, head_size: int, theta: float
) -> tuple[Float[np.ndarray, "position head_size"], Float[np.ndarray, "position head_size"]]:
    """Return cosines and sines of the rotary position encoding (arXiv 2104.09864).

    Number i of a head is paired with number i + head_size / 2, as in Llama.
    """
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    angles = np.concatenate([angles, angles], axis=-1)
    return np.cos(angles), np.sin(angles)


def rotate(
    x: Float[Array, "*batch position head head_size"], theta: float
) -> Float[Array, "*batch position head head_size"]:
    """Rotate queries or keys by their position, in float32."""
    return _turn(x, *rotary_tables(x.shape[-3], x.shape[-1], theta))


def rotate_on_grid(
    x: Float[Array, "*batch position head head_size"], theta: float
) -> Float[Array, "*batch position head head_size"]:
    """Rotate one half of each head by the row and the other by the column of a square board's cell, in float32."""
    side = math.isqrt(x.shape[-3])
    tables = rotary_tables(side, x.shape[-1] // 2, theta)
    by_row, by_column = jnp.split(x, 2, axis=-1)
    by_row = _turn(by_row, *(np.repeat(table, side, axis=0) for table in tables))
    by_column = _turn(by_column, *(np.tile(table, (side, 1)) for table in tables))
    return jnp.concatenate([by_row, by_column], axis=-1)


def _turn(
    x: Float[Array, "*batch position head size"], *tables: Float[np.ndarray, "position size"]
) -> Float[Array, "*batch position head size"]:
    cosines, sines = (jnp.expand_dims(table, (*range(x.ndim - 3), -2)) for table in tables)
    x_float32 = x.astype(jnp.float32)
    first, second = jnp.split(x_float32, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x_float32 * cosines + turned * sines).astype(x.dtype)


def attend(
    q: Float[Array, "*batch position head head_size"],
    k: Float[Array, "*batch position head head_size"],
    v: Float[Array, "*batch position head head_size"],
    fused: bool = False,
    plain: bool = False,
) -> Float[Array, "*batch position head head_size"]:
    """Return `softmax(q k / sqrt(head_size)) v` over all positions, not causal; the softmax is in float32.

    The backward pass recomputes the attention weights, which are large (position x position) and cheap. `fused`: on an
    NVIDIA GPU, use the kernel of cuDNN for bfloat16, which does not write the weights to memory (arXiv 2205.14135); no
    effect on other devices. `plain`: never fused, with JAX's own derivative, which supports forward mode.
    """
    if plain:
        return _mix(q, k, v)
    return _attend(q, k, v, fused and has_cudnn())


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(q: Array, k: Array, v: Array, fused: bool) -> Array:
    if fused:
        return jax.lax.platform_dependent(q, k, v, cuda=_cudnn, default=_mix)
    return _mix(q, k, v)


def _attend_forward(q: Array, k: Array, v: Array, fused: bool) -> tuple[Array, Any]:
    return _attend(q, k, v, fused), pack((q, k, v))


def _attend_backward(fused: bool, residuals: Any, cotangent: Array) -> tuple[Array, Array, Array]:
    q, k, v = unpack(residuals)
    if fused:
        return jax.lax.platform_dependent(q, k, v, cotangent, cuda=_cudnn_derivative, default=_mix_derivative)
    return _mix_derivative(q, k, v, cotangent)


_attend.defvjp(_attend_forward, _attend_backward)


# As matrix products


def attention_weights(
    q: Float[Array, "*batch query head head_size"], k: Float[Array, "*batch key head head_size"]
) -> Float[Array, "*batch head query key"]:
    """Return the attention weights `softmax(q k / sqrt(head_size))` in float32; their sum over the keys is 1."""
    scores = product("...qhd,...khd->...hqk", q, k)
    return jax.nn.softmax(scores * q.shape[-1] ** -0.5, axis=-1)


def _mix(q: Array, k: Array, v: Array) -> Array:
    return rounded_product("...hqk,...khd->...qhd", attention_weights(q, k).astype(v.dtype), v)


def _mix_derivative(q: Array, k: Array, v: Array, cotangent: Array) -> tuple[Array, Array, Array]:
    weights = attention_weights(q, k)
    grad_v = rounded_product("...hqk,...qhd->...khd", weights.astype(v.dtype), cotangent)
    grad_weights = product("...qhd,...khd->...hqk", cotangent, v)
    # Derivative of the softmax, then of the scale.
    grad_scores = weights * (grad_weights - jnp.sum(weights * grad_weights, axis=-1, keepdims=True))
    grad_scores = (grad_scores * q.shape[-1] ** -0.5).astype(q.dtype)
    grad_q = rounded_product("...hqk,...khd->...qhd", grad_scores, k)
    grad_k = rounded_product("...hqk,...qhd->...khd", grad_scores, q)
    return grad_q, grad_k, grad_v


# As a kernel of cuDNN


@lru_cache
def has_cudnn() -> bool:
    """Return whether jax was installed with cuDNN, with or without a GPU."""
    x = jax.ShapeDtypeStruct((1, 1, 1, 8), jnp.bfloat16)
    try:
        jax.eval_shape(_cudnn, x, x, x)
    except RuntimeError:
        return False
    return True


def _cudnn(q: Array, k: Array, v: Array) -> Array:
    length = q.shape[-3]
    # JAX rejects the derivative at odd lengths, a limit that it needs for a bias only.
    padding = ((0, 0), (0, length % 2), (0, 0), (0, 0))
    padded = [jnp.pad(x.reshape(-1, *x.shape[-3:]), padding) for x in (q, k, v)]
    lengths = jnp.full(len(padded[0]), length) if length % 2 else None
    mixed = jax.nn.dot_product_attention(
        *padded, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )
    return mixed[:, :length].reshape(q.shape)


def _cudnn_derivative(q: Array, k: Array, v: Array, cotangent: Array) -> tuple[Array, Array, Array]:
    # The forward kernel runs again: other platforms have no residuals like its own.
    return jax.vjp(_cudnn, q, k, v)[1](cotangent)
