"""Matrix products in the compute dtype: float32 or bfloat16 operands, float32 sums, float32 weight gradients.

Entry: `linear`, `product`, `rounded_product`, `cast_once`. Parameters are float32. Each is cast to the compute dtype at
use, as in the original. A recursion uses the same weight many times, so `cast_once` makes the copies before it starts.
Gradients must still be summed in float32: a `Cast` holds the parameter beside its copy, and the derivative of the
product passes the gradient to the parameter in float32.
"""

import math
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

T = TypeVar("T")


class Cast(eqx.Module):
    """A parameter and its copy in the compute dtype."""

    parameter: Float[Array, "*shape"]
    copy: Float[Array, "*shape"]


Weight = Float[Array, "..."] | Cast


def cast_once(module: T, dtype: DTypeLike) -> T:
    """Replace every parameter of a module by a `Cast`, ready for many uses."""
    return jax.tree.map(lambda parameter: as_cast(parameter, dtype), module)


def as_cast(weight: Weight, dtype: DTypeLike) -> Cast:
    """Pair a parameter with its copy in `dtype`; leave a pair as it is."""
    if isinstance(weight, Cast):
        return weight
    return Cast(weight, jax.lax.stop_gradient(weight).astype(dtype))


def plain_cast(weight: Weight, dtype: DTypeLike) -> Float[Array, "..."]:
    """Return a copy of a parameter in `dtype` that derivatives pass through."""
    return (weight.parameter if isinstance(weight, Cast) else weight).astype(dtype)


def product(subscripts: str, a: Array, b: Array) -> Float[Array, "..."]:
    """Einstein sum of two arrays of the compute dtype with a float32 result.

    float32 operands are multiplied as float32, never as TF32, which has fewer digits than the configuration promises.
    """

    def multiply(a: Array, b: Array) -> Array:
        precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
        return jnp.einsum(subscripts, a, b, precision=precision, preferred_element_type=jnp.float32)

    def widen(a: Array, b: Array) -> Array:
        return multiply(a.astype(jnp.float32), b.astype(jnp.float32))

    if a.dtype == jnp.bfloat16 and math.prod(a.shape[:-2]) == 1:
        # Without a batch axis the CPU compiler of jaxlib 0.11 may choose a bfloat16 kernel that does not exist.
        return jax.lax.platform_dependent(a, b, cpu=widen, default=multiply)
    return multiply(a, b)


def rounded_product(subscripts: str, a: Array, b: Array) -> Float[Array, "..."]:
    """Einstein sum of two arrays of the compute dtype, added up in float32 and rounded to that dtype."""

    def round_afterwards(a: Array, b: Array) -> Array:
        return product(subscripts, a, b).astype(a.dtype)

    def round_at_once(a: Array, b: Array) -> Array:
        return jnp.einsum(subscripts, a, b, preferred_element_type=a.dtype)

    if a.dtype == jnp.float32:
        return product(subscripts, a, b)
    # A GPU's kernels write rounded numbers, half as many bytes; a CPU's kernels that round are half as fast.
    return jax.lax.platform_dependent(a, b, cpu=round_afterwards, default=round_at_once)


def linear(
    x: Float[Array, "*batch in"], weight: Weight, rounded: bool = False, plain: bool = False
) -> Float[Array, "*batch out"]:
    """Multiply in the dtype of `x` with a weight stored as (in, out); the result is float32, or rounded to that dtype.

    `plain` selects JAX's own derivative, which supports forward mode.
    """
    if plain:
        return _multiply(x, plain_cast(weight, x.dtype), rounded)
    cast = as_cast(weight, x.dtype)
    return _linear(x, cast.parameter, cast.copy, rounded)


def _multiply(x: Array, weight: Array, rounded: bool) -> Array:
    return (rounded_product if rounded else product)("...i,io->...o", x, weight)


# Plain differentiation would multiply the float32 cotangent with the bfloat16 weight, at a fraction of the speed.
@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _linear(x: Array, parameter: Array, copy: Array, rounded: bool) -> Array:
    del parameter
    return _multiply(x, copy, rounded)


def _linear_forward(x: Array, parameter: Array, copy: Array, rounded: bool) -> tuple[Array, Any]:
    return _linear(x, parameter, copy, rounded), (pack(x), copy)


def _linear_backward(rounded: bool, residuals: Any, cotangent: Array) -> tuple[Array, Array, None]:
    del rounded
    x, copy = residuals
    x = unpack(x)
    cotangent = cotangent.astype(x.dtype)
    grad_x = rounded_product("...o,io->...i", cotangent, copy)
    return grad_x, weight_gradient(x, cotangent), None


_linear.defvjp(_linear_forward, _linear_backward)


def pack(activations: T) -> T:
    """Reinterpret bfloat16 activations as uint16, to be stored for the backward pass. Inverse: `unpack`.

    A backward scan reads the stored arrays of one iteration at a time. XLA's CPU compiler would first convert the
    bfloat16 numbers of all iterations to float32; it leaves integers as they are. On a GPU nothing changes.
    """
    return jax.tree.map(
        lambda x: jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x, activations
    )


def unpack(packed: T) -> T:
    """Reinterpret the result of `pack` as bfloat16."""
    return jax.tree.map(lambda x: jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x, packed)


def weight_gradient(a: Float[Array, "*batch position m"], b: Float[Array, "*batch position n"]) -> Float[Array, "m n"]:
    """Sum the outer products of a and b over everything but the last axis."""
    # The axes are not flattened: XLA's CPU kernel for two axes is twice as fast, and on a GPU XLA merges them itself.
    summed = "abcdefgh"[: a.ndim - 1]
    return product(f"{summed}m,{summed}n->mn", a, b)
