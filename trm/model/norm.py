"""RMS norm without a gain, computed in float32, with a custom derivative. Entry: `rms_norm`, `add_and_norm`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from trm.model.precision import pack, unpack


def rms_norm(
    x: Float[Array, "*batch position hidden"], eps: float, dtype: DTypeLike, plain: bool = False
) -> Float[Array, "*batch position hidden"]:
    """Divide by the root mean square over the last axis, without a gain, in float32; return the result in `dtype`."""
    x = x.astype(jnp.float32)
    if plain:
        return (x * _scale(x, eps)).astype(dtype)
    return _rms_norm(x, eps, jnp.dtype(dtype))


def _scale(x: Array, eps: float) -> Array:
    return jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _rms_norm(x: Array, eps: float, dtype: np.dtype) -> Array:
    return _rms_norm_forward(x, eps, dtype)[0]


def _rms_norm_forward(x: Array, eps: float, dtype: np.dtype) -> tuple[Array, Any]:
    scale = _scale(x, eps)
    y = (x * scale).astype(dtype)
    # The next layer stores the result as its input anyway: this derivative stores no further wide array.
    return y, pack((y, scale))


def _rms_norm_backward(eps: float, dtype: np.dtype, residuals: Any, cotangent: Array) -> tuple[Array]:
    del eps, dtype
    y, scale = unpack(residuals)
    y, cotangent = y.astype(jnp.float32), cotangent.astype(jnp.float32)
    return (scale * (cotangent - y * jnp.mean(cotangent * y, axis=-1, keepdims=True)),)


def add_and_norm(
    h: Float[Array, "*batch position hidden"], update: Float[Array, "*batch position hidden"], eps: float, plain: bool
) -> Float[Array, "*batch position hidden"]:
    """Post-norm: add the output of a layer, then normalise, both in float32; return the result in the dtype of `h`."""
    return rms_norm(h.astype(jnp.float32) + update.astype(jnp.float32), eps, h.dtype, plain)


_rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)
