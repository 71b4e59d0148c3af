"""Layers: SwiGLU and attention, on arrays (*batch, position, hidden) in the compute dtype.

Weights are float32, drawn from a truncated normal, and stored in the orientation in which the product for their
gradient needs no transposed copy; `trm.original.state_dict` maps them to the original's (out, in). `plain` selects
JAX's own derivative, which supports forward mode, instead of ours.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from trm.model.attention import attend, attention_weights, rotate, rotate_on_grid
from trm.model.norm import rms_norm
from trm.model.precision import as_cast, linear, pack, plain_cast, product, rounded_product, unpack, weight_gradient


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], std: float) -> Float[Array, "*shape"]:
    """Draw from a normal cut at two standard deviations, scaled so that the *result* has standard deviation `std`."""
    return jax.random.truncated_normal(key, -2, 2, shape, jnp.float32) * (std / _STD_OF_CUT_NORMAL)


_STD_OF_CUT_NORMAL = 0.8796256610342398
"""Standard deviation of a unit normal cut at two."""


class Layer(eqx.Module):
    """A module that declares its matrices, for optimisers that treat a matrix as a map from inputs to outputs."""

    matrices: eqx.AbstractClassVar[Mapping[str, int]]
    """Names of the fields that hold one, each with the axis of its outputs: 0 or 1."""


def fan_out_over_fan_in(tree: PyTree) -> PyTree:
    """Replace each matrix that a layer declares by its ratio of outputs to inputs, every other array by None."""
    declared = {}
    for layer in _layers(tree):
        for name, axis in layer.matrices.items():
            matrix = getattr(layer, name)
            declared[id(matrix)] = matrix.shape[axis] / matrix.shape[1 - axis]
    return jax.tree.map(lambda leaf: declared.get(id(leaf)), tree)


def _layers(tree: PyTree) -> Iterator[Layer]:
    """Yield the layers of a tree, those within layers included."""
    for node in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Layer)):
        if isinstance(node, Layer):
            yield node
            yield from _layers(list(vars(node).values()))


# SwiGLU


def swiglu_width(width: int, expansion: float, multiple: int = 256) -> int:
    """Return the inner width: 2/3 of `expansion * width`, rounded up to a multiple."""
    return max(1, -(-round(expansion * width * 2 / 3) // multiple)) * multiple


class SwiGLU(Layer):
    """Gated linear unit, no bias: `down(silu(gate(x)) * up(x))` (arXiv 2002.05202).

    With a norm it is `down(sigmoid(gate(x)) * rms(gate(x) * up(x)))` (arXiv 2601.19085).
    """

    matrices = MappingProxyType({"gate_up": 1, "down": 0})
    gate_up: Float[Array, "width gate_and_up"]
    """Gate first, then up."""
    down: Float[Array, "width inner"]
    """Transposed: (out, in)."""
    norm_eps: float | None = eqx.field(static=True)
    """Epsilon of the norm in the gate; None: no norm."""
    plain: bool = eqx.field(static=True)
    """Whether its derivative is JAX's own."""

    def __init__(
        self,
        width: int,
        expansion: float,
        norm_eps: float | None = None,
        plain: bool = False,
        *,
        multiple: int = 256,
        key: PRNGKeyArray,
    ):
        inner = swiglu_width(width, expansion, multiple)
        gate_up_key, down_key = jax.random.split(key)
        self.gate_up = truncated_normal(gate_up_key, (width, 2 * inner), width**-0.5)
        self.down = truncated_normal(down_key, (width, inner), inner**-0.5)
        self.norm_eps = norm_eps
        self.plain = plain

    def __call__(self, x: Float[Array, "*batch position width"]) -> Float[Array, "*batch position width"]:
        if x.ndim > 3:
            # The state "digits" adds an axis. A CPU multiplies two wide matrices faster than many narrow ones.
            return self._gate(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return self._gate(x)

    def _gate(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        if self.plain:
            gate_up, down = plain_cast(self.gate_up, x.dtype), plain_cast(self.down, x.dtype)
            return _down(x, *_gate_and_up(x, gate_up), down, self.norm_eps, plain=True)
        gate_up, down = as_cast(self.gate_up, x.dtype), as_cast(self.down, x.dtype)
        return _swiglu(x, gate_up.parameter, down.parameter, gate_up.copy, down.copy, self.norm_eps)


# The derivative stores the inputs of the gate in the compute dtype and nothing else of the inner width.
@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _swiglu(
    x: Array, gate_up_parameter: Array, down_parameter: Array, gate_up: Array, down: Array, norm_eps: float | None
) -> Array:
    return _swiglu_forward(x, gate_up_parameter, down_parameter, gate_up, down, norm_eps)[0]


def _swiglu_forward(
    x: Array, gate_up_parameter: Array, down_parameter: Array, gate_up: Array, down: Array, norm_eps: float | None
):
    del gate_up_parameter, down_parameter
    gate, up = _gate_and_up(x, gate_up)
    return _down(x, gate, up, down, norm_eps), (pack((x, gate, up)), gate_up, down)


def _swiglu_backward(norm_eps: float | None, residuals: Any, cotangent: Array):
    packed, gate_up, down = residuals
    x, gate, up = unpack(packed)
    gate_weight, up_weight = jnp.split(gate_up, 2, axis=-1)
    cotangent = cotangent.astype(x.dtype)
    grad_hidden = rounded_product("...o,oi->...i", cotangent, down).astype(jnp.float32)
    gate, up = gate.astype(jnp.float32), up.astype(jnp.float32)
    if norm_eps is None:
        sigmoid = jax.nn.sigmoid(gate)
        silu = gate * sigmoid
        hidden = silu * up
        grad_gate, grad_up = grad_hidden * up * (sigmoid + silu * (1 - sigmoid)), grad_hidden * silu
    else:
        hidden, pull_back = jax.vjp(partial(_gated, norm_eps=norm_eps), gate, up)
        grad_gate, grad_up = pull_back(grad_hidden)
    hidden, grad_gate, grad_up = (array.astype(x.dtype) for array in (hidden, grad_gate, grad_up))
    grad_x = product("...o,io->...i", grad_gate, gate_weight) + product("...o,io->...i", grad_up, up_weight)
    grad_gate_up = jnp.concatenate([weight_gradient(x, grad_gate), weight_gradient(x, grad_up)], axis=-1)
    return grad_x.astype(x.dtype), grad_gate_up, weight_gradient(cotangent, hidden), None, None


_swiglu.defvjp(_swiglu_forward, _swiglu_backward)


def _gate_and_up(x: Array, gate_up: Array) -> tuple[Array, Array]:
    # Two products, not one that is split: the split, and joining the gradients, would copy the wide result.
    gate, up = (rounded_product("...i,io->...o", x, weight) for weight in jnp.split(gate_up, 2, axis=-1))
    return gate, up


def _down(x: Array, gate: Array, up: Array, down: Array, norm_eps: float | None, plain: bool = False) -> Array:
    hidden = _gated(gate.astype(jnp.float32), up.astype(jnp.float32), norm_eps, plain).astype(x.dtype)
    return rounded_product("...i,oi->...o", hidden, down)


def _gated(gate: Array, up: Array, norm_eps: float | None, plain: bool = False) -> Array:
    """Return `silu(gate) * up`, or with an epsilon `sigmoid(gate) * rms(gate * up)`, in float32."""
    if norm_eps is None:
        return jax.nn.silu(gate) * up
    return jax.nn.sigmoid(gate) * rms_norm(gate * up, norm_eps, jnp.float32, plain)


# Attention


class Attention(Layer):
    """Self-attention over all positions, with queries, keys and values in one matrix, no bias."""

    matrices = MappingProxyType({"qkv": 1, "out": 1})
    qkv: Float[Array, "hidden qkv"]
    out: Float[Array, "heads hidden"]
    num_heads: int = eqx.field(static=True)
    rope_theta: float | None = eqx.field(static=True)
    """Base of the rotary position encoding; None: no rotation."""
    on_grid: bool = eqx.field(static=True)
    """Whether positions are the cells of a square board, and rotations encode row and column."""
    fused: bool = eqx.field(static=True)
    """Whether an NVIDIA GPU runs the fused kernel of cuDNN."""
    plain: bool = eqx.field(static=True)
    """Whether its derivative is JAX's own."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        rope_theta: float | None,
        fused: bool = False,
        plain: bool = False,
        *,
        on_grid: bool = False,
        key: PRNGKeyArray,
    ):
        qkv_key, out_key = jax.random.split(key)
        width = num_heads * head_size
        self.qkv = truncated_normal(qkv_key, (hidden_size, 3 * width), hidden_size**-0.5)
        self.out = truncated_normal(out_key, (width, hidden_size), width**-0.5)
        self.num_heads = num_heads
        self.rope_theta = rope_theta
        self.on_grid = on_grid
        self.fused = fused
        self.plain = plain

    def __call__(self, x: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        q, k, v = self._project(x)
        mixed = attend(q, k, v, self.fused, self.plain).reshape(*x.shape[:-1], -1)
        return linear(mixed, self.out, rounded=True, plain=self.plain)

    def weights(self, x: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch head query key"]:
        """Return the attention weights, for analysis; a call of the layer does not store them."""
        q, k, _ = self._project(x)
        return attention_weights(q, k)

    def _project(self, x: Float[Array, "*batch position hidden"]) -> tuple[Array, Array, Array]:
        """Return queries, keys and values, (*batch, position, head, head_size), rotated by their positions."""
        qkv = linear(x, self.qkv, rounded=True, plain=self.plain)
        qkv = qkv.reshape(*qkv.shape[:-1], 3, self.num_heads, -1)
        q, k, v = qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]
        if self.rope_theta is not None:
            turn = rotate_on_grid if self.on_grid else rotate
            q, k = turn(q, self.rope_theta), turn(k, self.rope_theta)
        return q, k, v
