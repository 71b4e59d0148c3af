"""The building blocks: what enters and leaves each is (*batch, position, hidden), in the compute dtype.

Weights are float32, truncated normal, and stored so that the gradient of each is a product whose transposed operand
lies ready in memory; `trm.original.state_dict` knows how that relates to the original's (out, in).
"""

from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from trm.model.attention import attend, rotate
from trm.model.precision import as_cast, linear, pack, product, rounded_product, unpack, weight_gradient

T = TypeVar("T")


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], std: float) -> Float[Array, "*shape"]:
    """Draw from a normal cut at two standard deviations, scaled so that the *result* has standard deviation `std`."""
    return jax.random.truncated_normal(key, -2, 2, shape, jnp.float32) * (std / _STD_OF_CUT_NORMAL)


_STD_OF_CUT_NORMAL = 0.8796256610342398
"""Standard deviation of a unit normal cut at two."""


# Norm


def rms_norm(
    x: Float[Array, "*batch position hidden"], eps: float, dtype: DTypeLike
) -> Float[Array, "*batch position hidden"]:
    """Divide by the root mean square over the last axis, without a gain, in float32; return it in `dtype`."""
    return _rms_norm(x.astype(jnp.float32), eps, jnp.dtype(dtype))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _rms_norm(x: Array, eps: float, dtype: np.dtype) -> Array:
    return _rms_norm_forward(x, eps, dtype)[0]


def _rms_norm_forward(x: Array, eps: float, dtype: np.dtype) -> tuple[Array, Any]:
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)
    y = (x * scale).astype(dtype)
    # The result is the next layer's input and kept for it anyway: nothing wide has to be stored for this derivative.
    return y, pack((y, scale))


def _rms_norm_backward(eps: float, dtype: np.dtype, residuals: Any, cotangent: Array) -> tuple[Array]:
    del eps, dtype
    y, scale = unpack(residuals)
    y, cotangent = y.astype(jnp.float32), cotangent.astype(jnp.float32)
    return (scale * (cotangent - y * jnp.mean(cotangent * y, axis=-1, keepdims=True)),)


def _add_and_norm(
    h: Float[Array, "*batch position hidden"], update: Float[Array, "*batch position hidden"], eps: float
) -> Float[Array, "*batch position hidden"]:
    """Post-norm: add what a layer found, then normalise, both in float32; return it in the dtype of `h`."""
    return rms_norm(h.astype(jnp.float32) + update.astype(jnp.float32), eps, h.dtype)


_rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)


# SwiGLU


def swiglu_width(width: int, expansion: float) -> int:
    """Return the inner width: 2/3 of `expansion * width`, rounded up to a multiple of 256."""
    return max(1, -(-round(expansion * width * 2 / 3) // 256)) * 256


class SwiGLU(eqx.Module):
    """Gated linear unit, no bias: `down(silu(gate(x)) * up(x))` (arXiv 2002.05202).

    Or, with a norm, `down(sigmoid(gate(x)) * rms(gate(x) * up(x)))` (arXiv 2601.19085).
    """

    gate_up: Float[Array, "width gate_and_up"]
    """Gate first, then up."""
    down: Float[Array, "width inner"]
    """Transposed: (out, in)."""
    norm_eps: float | None = eqx.field(static=True)
    """Of the norm in the gate; None: no norm."""

    def __init__(self, width: int, expansion: float, norm_eps: float | None = None, *, key: PRNGKeyArray):
        inner = swiglu_width(width, expansion)
        gate_up_key, down_key = jax.random.split(key)
        self.gate_up = truncated_normal(gate_up_key, (width, 2 * inner), width**-0.5)
        self.down = truncated_normal(down_key, (width, inner), inner**-0.5)
        self.norm_eps = norm_eps

    def __call__(self, x: Float[Array, "*batch position width"]) -> Float[Array, "*batch position width"]:
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
    # Two products, not one whose wide result is cut: cutting and joining would write and read it once more.
    gate, up = (rounded_product("...i,io->...o", x, weight) for weight in jnp.split(gate_up, 2, axis=-1))
    hidden = _gated(gate.astype(jnp.float32), up.astype(jnp.float32), norm_eps).astype(x.dtype)
    return rounded_product("...i,oi->...o", hidden, down), (pack((x, gate, up)), gate_up, down)


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


def _gated(gate: Array, up: Array, norm_eps: float | None) -> Array:
    """Return `silu(gate) * up`, or with an epsilon `sigmoid(gate) * rms(gate * up)`, in float32."""
    if norm_eps is None:
        return jax.nn.silu(gate) * up
    return jax.nn.sigmoid(gate) * rms_norm(gate * up, norm_eps, jnp.float32)


# Attention


class Attention(eqx.Module):
    """Self-attention over all positions, queries, keys and values in one matrix, no bias."""

    qkv: Float[Array, "hidden qkv"]
    out: Float[Array, "heads hidden"]
    num_heads: int = eqx.field(static=True)
    rope_theta: float | None = eqx.field(static=True)
    """Base of the rotary position encoding; None: no positions."""
    fused: bool = eqx.field(static=True)
    """Whether a GPU's own kernel does it where there is one."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        rope_theta: float | None,
        fused: bool = False,
        *,
        key: PRNGKeyArray,
    ):
        qkv_key, out_key = jax.random.split(key)
        width = num_heads * head_size
        self.qkv = truncated_normal(qkv_key, (hidden_size, 3 * width), hidden_size**-0.5)
        self.out = truncated_normal(out_key, (width, hidden_size), width**-0.5)
        self.num_heads = num_heads
        self.rope_theta = rope_theta
        self.fused = fused

    def __call__(self, x: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        qkv = linear(x, self.qkv, rounded=True)
        qkv = qkv.reshape(*qkv.shape[:-1], 3, self.num_heads, -1)
        q, k, v = qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]
        if self.rope_theta is not None:
            q, k = rotate(q, self.rope_theta), rotate(k, self.rope_theta)
        return linear(attend(q, k, v, self.fused).reshape(*x.shape[:-1], -1), self.out, rounded=True)


# Blocks


class AttentionMixer(eqx.Module):
    """Mixes positions by self-attention: `rms(h + attention(h))`."""

    attention: Attention

    def __call__(self, h: Float[Array, "*batch position hidden"], eps: float) -> Float[Array, "*batch position hidden"]:
        return _add_and_norm(h, self.attention(h), eps)


class MLPMixer(eqx.Module):
    """Mixes positions by a SwiGLU over the position axis; its norm runs over the position axis too."""

    mlp: SwiGLU

    def __call__(self, h: Float[Array, "*batch position hidden"], eps: float) -> Float[Array, "*batch position hidden"]:
        h = h.swapaxes(-1, -2)
        return _add_and_norm(h, self.mlp(h), eps).swapaxes(-1, -2)


class Block(eqx.Module):
    """Post-norm block: mix positions, then a SwiGLU at each position."""

    mixer: AttentionMixer | MLPMixer
    mlp: SwiGLU
    eps: float = eqx.field(static=True)

    def __call__(self, h: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        h = self.mixer(h, self.eps)
        return _add_and_norm(h, self.mlp(h), self.eps)


class Network(eqx.Module):
    """The tiny network: a few blocks."""

    blocks: tuple[Block, ...]
    remat: bool = eqx.field(static=True)
    """Whether the backward pass computes the blocks again, instead of keeping what it needs of the forward pass."""

    def __call__(self, h: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        return (jax.checkpoint(_in_turn) if self.remat else _in_turn)(self.blocks, h)


def _in_turn(blocks: tuple[Block, ...], h: Array) -> Array:
    for block in blocks:
        h = block(h)
    return h


def outputs_over_inputs(tree: T) -> T:
    """Say of each matrix of the layers in a tree how many outputs it has for each input, in the matrix's place."""

    def of_layer(layer: SwiGLU | Attention) -> Any:
        if isinstance(layer, Attention):
            return jax.tree.map(lambda weight: weight.shape[1] / weight.shape[0], layer)
        gate_up, down = layer.gate_up.shape, layer.down.shape
        return eqx.tree_at(
            lambda swiglu: (swiglu.gate_up, swiglu.down), layer, (gate_up[1] / gate_up[0], down[0] / down[1])
        )

    return jax.tree.map(of_layer, tree, is_leaf=lambda node: isinstance(node, SwiGLU | Attention))
