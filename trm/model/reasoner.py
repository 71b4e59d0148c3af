"""The whole network around the recursion: embeddings in, logits and halting values out.

The table of puzzle embeddings is not in here: it can have a million rows of which a step touches a few hundred. A
caller looks the rows up and passes them in.
"""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from trm.configuration.schema import ModelConfig
from trm.model.layers import Attention, AttentionMixer, Block, MLPMixer, Network, SwiGLU, truncated_normal
from trm.model.precision import linear
from trm.model.recursion import RECURSIONS, Latents, Recursion


class QHead(eqx.Module):
    """Reads (q_halt, q_continue) off one position."""

    weight: Float[Array, "hidden 2"]
    bias: Float[Array, " 2"]

    def __init__(self, hidden_size: int):
        # Almost never halt at first: the first steps of training are to be spent on the puzzle.
        self.weight = jnp.zeros((hidden_size, 2))
        self.bias = jnp.full((2,), -5.0, jnp.float32)

    def __call__(self, z: Float[Array, "*batch hidden"]) -> Float[Array, "*batch 2"]:
        # The original adds the bias in the compute dtype and rounds to it.
        q = linear(z, self.weight)
        q = q + jnp.broadcast_to(self.bias.astype(z.dtype).astype(jnp.float32), q.shape)
        return q.astype(z.dtype).astype(jnp.float32)


class Outputs(eqx.Module):
    """What a supervision step says."""

    logits: Float[Array, "*batch seq_len vocab"]
    q_halt_logits: Float[Array, "*batch"]
    q_continue_logits: Float[Array, "*batch"]

    @property
    def predictions(self) -> Int[Array, "*batch seq_len"]:
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)


class Reasoner(eqx.Module):
    """Embeddings, recursion and heads."""

    embed_tokens: Float[Array, "vocab hidden"]
    embed_positions: Float[Array, "position hidden"] | None
    register: Float[Array, " hidden"] | None
    """What stands before the tokens in place of a puzzle embedding."""
    recursion: Recursion
    lm_head: Float[Array, "hidden vocab"]
    q_head: QHead
    prefix_len: int = eqx.field(static=True)

    def __init__(self, config: ModelConfig, vocab_size: int, seq_len: int, *, key: PRNGKeyArray):
        tokens_key, positions_key, recursion_key, head_key = jax.random.split(key, 4)
        hidden_size = config.hidden_size
        self.prefix_len = config.prefix_len
        positions = seq_len + self.prefix_len
        self.embed_tokens = truncated_normal(tokens_key, (vocab_size, hidden_size), hidden_size**-0.5)
        self.embed_positions = (
            truncated_normal(positions_key, (positions, hidden_size), hidden_size**-0.5)
            if config.positions == "learned"
            else None
        )
        self.register = (
            truncated_normal(jax.random.fold_in(tokens_key, 1), (hidden_size,), hidden_size**-0.5)
            if config.register
            else None
        )
        make_network = partial(_make_network, config, positions)
        self.recursion = RECURSIONS[config.recursion](config, make_network, key=recursion_key)
        self.lm_head = truncated_normal(head_key, (hidden_size, vocab_size), hidden_size**-0.5)
        self.q_head = QHead(hidden_size)

    def __call__(
        self, inputs: Int[Array, "*batch seq_len"], rows: Float[Array, "*batch row_size"], z: Latents
    ) -> tuple[Latents, Outputs]:
        """Run one supervision step on puzzles, their embedding rows and their latents.

        Gradients reach the weights and `rows` through the last H cycle; the latents that are returned carry none.
        """
        z = self.recursion(self.embed(inputs, rows), z)
        answer = self.recursion.answer(z)
        logits = linear(answer[..., self.prefix_len :, :], self.lm_head, rounded=True)
        q = self.q_head(answer[..., 0, :])
        return jax.lax.stop_gradient(z), Outputs(logits, q[..., 0], q[..., 1])

    @property
    def dtype(self) -> jnp.dtype:
        """The compute dtype: that of the latents."""
        return jax.tree.leaves(self.recursion.initial)[0].dtype

    def embed(
        self, inputs: Int[Array, "*batch seq_len"], rows: Float[Array, "*batch row_size"]
    ) -> Float[Array, "*batch position hidden"]:
        """Embed tokens behind the prefix, add positions, scale by sqrt(hidden).

        The prefix is the register, or what a puzzle's row is cut into.
        """
        hidden_size = self.embed_tokens.shape[-1]
        x = self.embed_tokens.astype(self.dtype)[inputs]
        if self.register is not None:
            register = jnp.broadcast_to(self.register.astype(self.dtype), (*x.shape[:-2], 1, hidden_size))
            x = jnp.concatenate([register, x], axis=-2)
        elif self.prefix_len:
            padding = self.prefix_len * hidden_size - rows.shape[-1]
            rows = jnp.pad(rows.astype(self.dtype), [(0, 0)] * (rows.ndim - 1) + [(0, padding)])
            x = jnp.concatenate([rows.reshape(*rows.shape[:-1], self.prefix_len, hidden_size), x], axis=-2)
        if self.embed_positions is not None:
            # Two embeddings of equal variance: halve it.
            x = (x + jnp.broadcast_to(self.embed_positions.astype(self.dtype), x.shape)) * math.sqrt(0.5)
        return x * math.sqrt(hidden_size)

    def initial_latents(self, tokens_shape: tuple[int, ...]) -> Latents:
        """Return the latents that puzzles start from, for tokens of shape (*batch, seq_len)."""
        *batch, seq_len = tokens_shape
        positions = seq_len + self.prefix_len
        return jax.tree.map(
            lambda vector: jnp.broadcast_to(vector, (*batch, positions, *vector.shape)), self.recursion.initial
        )


def trainable(model: Reasoner) -> Reasoner:
    """Mark with True what is trained, averaged and decayed: all but the initial latents. For `eqx.partition`."""
    every = jax.tree.map(lambda _: True, model)
    none = jax.tree.map(lambda _: False, model.recursion.initial)
    return eqx.tree_at(lambda tree: tree.recursion.initial, every, none)


def count_parameters(model: Reasoner) -> int:
    """Count the numbers that are trained; the puzzle table is not among them."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, trainable(model))))


def _make_network(config: ModelConfig, positions: int, layers: int, *, key: PRNGKeyArray) -> Network:
    blocks = tuple(_make_block(config, positions, key=k) for k in jax.random.split(key, layers))
    return Network(blocks, config.remat)


def _make_block(config: ModelConfig, positions: int, *, key: PRNGKeyArray) -> Block:
    mixer_key, mlp_key = jax.random.split(key)
    gate_eps = config.rms_norm_eps if config.gate == "norm" else None
    if config.mixer == "mlp":
        mixer = MLPMixer(SwiGLU(positions, config.expansion, gate_eps, key=mixer_key))
    else:
        theta = config.rope_theta if config.positions == "rope" else None
        size, heads, head_size = config.hidden_size, config.num_heads, config.head_size
        mixer = AttentionMixer(Attention(size, heads, head_size, theta, config.fused_attention, key=mixer_key))
    return Block(mixer, SwiGLU(config.hidden_size, config.expansion, gate_eps, key=mlp_key), config.rms_norm_eps)
