"""The whole model: embeddings, the recursion, and the heads. Entry: `Reasoner`.

The table of puzzle embeddings is not part of it: the table can have a million rows, of which a step uses a few hundred.
A caller looks the rows up and passes them in.
"""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from trm.configuration.schema import ModelConfig
from trm.model.blocks import AttentionMixer, Block, MLPMixer, Network
from trm.model.layers import Attention, SwiGLU, truncated_normal
from trm.model.precision import linear
from trm.model.recursions import RECURSIONS, Latents, Recursion, check_model


class QHead(eqx.Module):
    """Computes (q_halt, q_continue) from one position of the answer."""

    weight: Float[Array, "hidden 2"]
    bias: Float[Array, " 2"]

    def __init__(self, hidden_size: int):
        # Almost never halt at first: training begins with the puzzle, not with halting.
        self.weight = jnp.zeros((hidden_size, 2))
        self.bias = jnp.full((2,), -5.0, jnp.float32)

    def __call__(self, z: Float[Array, "*batch hidden"], plain: bool = False) -> Float[Array, "*batch 2"]:
        # The original adds the bias in the compute dtype and rounds to it.
        q = linear(z, self.weight, plain=plain)
        q = q + jnp.broadcast_to(self.bias.astype(z.dtype).astype(jnp.float32), q.shape)
        return q.astype(z.dtype).astype(jnp.float32)


class Outputs(eqx.Module):
    """The outputs of one supervision step."""

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
    """A learned vector before the tokens, in place of a puzzle embedding."""
    recursion: Recursion
    lm_head: Float[Array, "hidden vocab"]
    q_head: QHead
    prefix_len: int = eqx.field(static=True)
    plain_derivatives: bool = eqx.field(static=True)
    """Whether all derivatives are JAX's own, and pass through the latents that a step returns."""

    def __init__(self, config: ModelConfig, vocab_size: int, seq_len: int, *, key: PRNGKeyArray):
        """Draw the weights; raise InputError where the recursion cannot do what the configuration says."""
        check_model(config)
        tokens_key, positions_key, recursion_key, head_key = jax.random.split(key, 4)
        hidden_size = config.hidden_size
        self.prefix_len = config.prefix_len
        self.plain_derivatives = config.plain_derivatives
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

        Gradients reach the weights and `rows` through the last H cycles; the latents that are returned carry none,
        except with `plain_derivatives`.
        """
        plain = self.plain_derivatives
        z = self.recursion(self.embed(inputs, rows), z)
        answer = self.recursion.answer(z)
        logits = linear(answer[..., self.prefix_len :, :], self.lm_head, rounded=True, plain=plain)
        q = self.q_head(answer[..., 0, :], plain)
        return z if plain else jax.lax.stop_gradient(z), Outputs(logits, q[..., 0], q[..., 1])

    @property
    def dtype(self) -> jnp.dtype:
        """The compute dtype: that of the latents."""
        return jax.tree.leaves(self.recursion.initial)[0].dtype

    def embed(
        self, inputs: Int[Array, "*batch seq_len"], rows: Float[Array, "*batch row_size"]
    ) -> Float[Array, "*batch position hidden"]:
        """Embed tokens behind the prefix, add positions, scale by sqrt(hidden).

        The prefix is the register, or the puzzle's row, cut into vectors.
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
        """Return the latents that puzzles of tokens (*batch, seq_len) start from."""
        *batch, seq_len = tokens_shape
        positions = seq_len + self.prefix_len
        return jax.tree.map(
            lambda vector: jnp.broadcast_to(vector, (*batch, positions, *vector.shape)), self.recursion.initial
        )


def trainable(model: Reasoner) -> Reasoner:
    """Mark with True what is trained, averaged and decayed: everything but the initial latents. For `eqx.partition`."""
    every = jax.tree.map(lambda _: True, model)
    none = jax.tree.map(lambda _: False, model.recursion.initial)
    return eqx.tree_at(lambda tree: tree.recursion.initial, every, none)


def reconfigure(model: Reasoner, config: ModelConfig) -> Reasoner:
    """Return the same weights as a model of another configuration, which differs in no shape.

    For other cycles, `plain_derivatives`, `remat` and the like.
    """
    vocab_size = model.embed_tokens.shape[0]
    # No static field depends on the number of positions.
    other = jax.eval_shape(lambda: Reasoner(config, vocab_size, 1, key=jax.random.key(0)))
    return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(model))


def count_parameters(model: Reasoner) -> int:
    """Count the trained numbers, without the puzzle table."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, trainable(model))))


def _make_network(config: ModelConfig, positions: int, layers: int, *, key: PRNGKeyArray) -> Network:
    blocks = tuple(_make_block(config, positions, key=k) for k in jax.random.split(key, layers))
    return Network(blocks, config.remat)


def _make_block(config: ModelConfig, positions: int, *, key: PRNGKeyArray) -> Block:
    mixer_key, mlp_key = jax.random.split(key)
    gate_eps = config.rms_norm_eps if config.gate == "norm" else None
    plain = config.plain_derivatives
    if config.mixer == "mlp":
        mixer = MLPMixer(SwiGLU(positions, config.expansion, gate_eps, plain, key=mixer_key))
    else:
        theta = config.rope_theta if config.positions == "rope" else None
        size, heads, head_size = config.hidden_size, config.num_heads, config.head_size
        mixer = AttentionMixer(Attention(size, heads, head_size, theta, config.fused_attention, plain, key=mixer_key))
    mlp = SwiGLU(config.hidden_size, config.expansion, gate_eps, plain, key=mlp_key)
    return Block(mixer, mlp, config.rms_norm_eps)
