"""Blocks of layers, and networks, which are stacks of blocks. Entry: `Network`."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from trm.model.digits import Coupling
from trm.model.layers import Attention, SwiGLU
from trm.model.norm import add_and_norm


class AttentionMixer(eqx.Module):
    """Mixes positions by self-attention: `rms(h + attention(h))`."""

    attention: Attention

    def __call__(self, h: Float[Array, "*batch position hidden"], eps: float) -> Float[Array, "*batch position hidden"]:
        return add_and_norm(h, self.attention(h), eps, self.attention.plain)


class MLPMixer(eqx.Module):
    """Mixes positions by a SwiGLU over the position axis; its norm runs over the position axis too."""

    mlp: SwiGLU

    def __call__(self, h: Float[Array, "*batch position hidden"], eps: float) -> Float[Array, "*batch position hidden"]:
        h = h.swapaxes(-1, -2)
        return add_and_norm(h, self.mlp(h), eps, self.mlp.plain).swapaxes(-1, -2)


class Block(eqx.Module):
    """Post-norm block: mixing of positions, coupling of digits (state "digits" only), SwiGLU at each position."""

    mixer: AttentionMixer | MLPMixer
    coupling: Coupling | None
    mlp: SwiGLU
    eps: float = eqx.field(static=True)

    def __call__(self, h: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        h = self.mixer(h, self.eps)
        if self.coupling is not None:
            h = self.coupling(h, self.eps)
        return add_and_norm(h, self.mlp(h), self.eps, self.mlp.plain)


class Network(eqx.Module):
    """A stack of blocks."""

    blocks: tuple[Block, ...]
    remat: bool = eqx.field(static=True)
    """Whether the backward pass recomputes the blocks instead of storing their intermediate results."""

    def __call__(self, h: Float[Array, "*batch position hidden"]) -> Float[Array, "*batch position hidden"]:
        return (jax.checkpoint(_run_blocks) if self.remat else _run_blocks)(self.blocks, h)


def _run_blocks(blocks: tuple[Block, ...], h: Array) -> Array:
    for block in blocks:
        h = block(h)
    return h
