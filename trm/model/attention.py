"""Softmax attention: what enters and leaves is (*batch, position, head, head_size), in the compute dtype."""

from functools import lru_cache
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
    """Return cosines and sines of the rotary position encoding (arXiv 2104.09864), halves paired as in Llama."""
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    angles = np.concatenate([angles, angles], axis=-1)
    return np.cos(angles), np.sin(angles)


def rotate(
    x: Float[Array, "*batch position head head_size"], theta: float
) -> Float[Array, "*batch position head head_size"]:
    """Rotate queries or keys by their position, in float32."""
    tables = rotary_tables(x.shape[-3], x.shape[-1], theta)
    cosines, sines = (jnp.expand_dims(table, (*range(x.ndim - 3), -2)) for table in tables)
    x_float32 = x.astype(jnp.float32)
    first, second = jnp.split(x_float32, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x_float32 * cosines + turned * sines).astype(x.dtype)


@jax.custom_vjp
def attend(
    q: Float[Array, "*batch position head head_size"],
    k: Float[Array, "*batch position head head_size"],
    v: Float[Array, "*batch position head head_size"],
) -> Float[Array, "*batch position head head_size"]:
    """Mix the values by `softmax(q k / sqrt(head_size))`, full, not causal; the softmax in float32.

    The derivative computes the weights again instead of storing them: position x position is wide, and cheap to make.
    """
    return _attend_forward(q, k, v)[0]


def _attention_weights(q: Array, k: Array) -> Float[Array, "*batch head query key"]:
    scores = product("...qhd,...khd->...hqk", q, k)
    return jax.nn.softmax(scores * q.shape[-1] ** -0.5, axis=-1)


def _attend_forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    weights = _attention_weights(q, k).astype(v.dtype)
    return rounded_product("...hqk,...khd->...qhd", weights, v), pack((q, k, v))


def _attend_backward(residuals: Any, cotangent: Array) -> tuple[Array, Array, Array]:
    q, k, v = unpack(residuals)
    weights = _attention_weights(q, k)
    grad_v = rounded_product("...hqk,...qhd->...khd", weights.astype(v.dtype), cotangent)
    grad_weights = product("...qhd,...khd->...hqk", cotangent, v)
    # Derivative of the softmax, then of the scale.
    grad_scores = weights * (grad_weights - jnp.sum(weights * grad_weights, axis=-1, keepdims=True))
    grad_scores = (grad_scores * q.shape[-1] ** -0.5).astype(q.dtype)
    grad_q = rounded_product("...hqk,...khd->...qhd", grad_scores, k)
    grad_k = rounded_product("...hqk,...qhd->...khd", grad_scores, q)
    return grad_q, grad_k, grad_v


attend.defvjp(_attend_forward, _attend_backward)
