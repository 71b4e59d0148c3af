"""The whole model: embeddings, the recursion, and the heads. Entry: `Reasoner`.

The puzzle table is not part of the model: the table can have a million rows, of which a step uses a few hundred. The
caller looks the rows up and passes them in.
"""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.blocks import AttentionMixer, Block, MLPMixer, Network
from trm.model.digits import FIRST_DIGIT, ROLES, Coupling, one_hot_roles, pool, token_logits
from trm.model.layers import Attention, SwiGLU, truncated_normal
from trm.model.precision import linear
from trm.model.recursions import RECURSIONS, Latents, Recursion, check_model


class QHead(eqx.Module):
    """Computes (q_halt, q_continue) from the answer latent: its first position, or its mean (state "digits")."""

    weight: Float[Array, "hidden 2"]
    bias: Float[Array, " 2"]

    def __init__(self, hidden_size: int):
        # This bias makes halting rare at first: training begins with the puzzle, not with halting.
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

    embed_tokens: Float[Array, "token_or_role hidden"]
    """Embedding of each token; with the state "digits", of each role of a cell for a digit."""
    embed_positions: Float[Array, "position hidden"] | None
    register: Float[Array, " hidden"] | None
    """A learned vector before the tokens, instead of a puzzle embedding."""
    recursion: Recursion
    lm_head: Float[Array, "hidden logits"]
    """One column for each token; with the state "digits", one for the digit whose state it reads."""
    q_head: QHead
    digits: int = eqx.field(static=True)
    """Digits that have a state of their own; 0: the state has no axis of digits."""
    prefix_len: int = eqx.field(static=True)
    plain_derivatives: bool = eqx.field(static=True)
    """Whether all derivatives are JAX's own, and pass through the latents that a step returns."""

    def __init__(self, config: ModelConfig, vocab_size: int, seq_len: int, *, key: PRNGKeyArray):
        """Draw the weights; raise InputError where the configuration does not fit the recursion or the puzzles."""
        check_model(config)
        tokens_key, positions_key, recursion_key, head_key = jax.random.split(key, 4)
        hidden_size = config.hidden_size
        self.digits = _count_digits(config, vocab_size, seq_len)
        self.prefix_len = config.prefix_len
        self.plain_derivatives = config.plain_derivatives
        positions = seq_len + self.prefix_len
        tokens, logits = (ROLES, 1) if self.digits else (vocab_size, vocab_size)
        self.embed_tokens = truncated_normal(tokens_key, (tokens, hidden_size), hidden_size**-0.5)
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
        self.lm_head = truncated_normal(head_key, (hidden_size, logits), hidden_size**-0.5)
        self.q_head = QHead(hidden_size)

    def __call__(
        self, inputs: Int[Array, "*batch seq_len"], rows: Float[Array, "*batch row_size"], z: Latents
    ) -> tuple[Latents, Outputs]:
        """Run one supervision step on puzzles, their embedding rows and their latents.

        Gradients reach the weights and `rows` through the last H cycles; the returned latents carry none, except with
        `plain_derivatives`.
        """
        z = self.recursion(self.embed(inputs, rows), z)
        return z if self.plain_derivatives else jax.lax.stop_gradient(z), self.read(z)

    def read(self, z: Latents) -> Outputs:
        """Read latents with the heads."""
        plain, answer = self.plain_derivatives, self.recursion.answer(z)
        logits = linear(answer[..., self.prefix_len :, :], self.lm_head, rounded=True, plain=plain)
        if self.digits:
            logits = token_logits(logits[..., 0])
        q = self.q_head(pool(answer) if self.digits else answer[..., 0, :], plain)
        return Outputs(logits, q[..., 0], q[..., 1])

    @property
    def vocab_size(self) -> int:
        """The number of tokens, padding included."""
        return FIRST_DIGIT + self.digits if self.digits else len(self.embed_tokens)

    @property
    def dtype(self) -> jnp.dtype:
        """The compute dtype: that of the latents."""
        return jax.tree.leaves(self.recursion.initial)[0].dtype

    def embed(
        self, inputs: Int[Array, "*batch seq_len"], rows: Float[Array, "*batch row_size"]
    ) -> Float[Array, "... position hidden"]:
        """Embed tokens behind the prefix, add positions, scale by sqrt(hidden).

        The prefix is the register, or the puzzle's row, cut into vectors. With the state "digits" there is no prefix,
        and each digit embeds the roles that the cells have for it.
        """
        hidden_size = self.embed_tokens.shape[-1]
        if self.digits:
            roles = one_hot_roles(inputs, self.digits, self.dtype)
            x = linear(roles, self.embed_tokens, rounded=True, plain=self.plain_derivatives)
        else:
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
        """Return the initial latents of puzzles whose tokens have the shape (*batch, seq_len)."""
        *batch, seq_len = tokens_shape
        places = (*batch, *[self.digits] * bool(self.digits), seq_len + self.prefix_len)
        return jax.tree.map(lambda vector: jnp.broadcast_to(vector, (*places, *vector.shape)), self.recursion.initial)


def trainable(model: Reasoner) -> Reasoner:
    """Return the mask of trained, averaged and decayed arrays for `eqx.partition`: all but the initial latents."""
    every = jax.tree.map(lambda _: True, model)
    none = jax.tree.map(lambda _: False, model.recursion.initial)
    return eqx.tree_at(lambda tree: tree.recursion.initial, every, none)


def reconfigure(model: Reasoner, config: ModelConfig, vocab_size: int | None = None) -> Reasoner:
    """Return the same weights as a model of another configuration with the same shapes.

    For other cycles, `plain_derivatives`, `remat` and the like. With the state "digits" no weight depends on the number
    of digits, and with attention none on the number of cells: `vocab_size` may then be that of boards of another size.
    """
    vocab_size = model.vocab_size if vocab_size is None else vocab_size
    # No static field depends on the number of positions.
    other = jax.eval_shape(lambda: Reasoner(config, vocab_size, 1, key=jax.random.key(0)))
    return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(model))


def count_parameters(model: Reasoner) -> int:
    """Count the trained parameters, without the puzzle table."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, trainable(model))))


def _make_network(config: ModelConfig, positions: int, layers: int, *, key: PRNGKeyArray) -> Network:
    blocks = tuple(_make_block(config, positions, key=k) for k in jax.random.split(key, layers))
    return Network(blocks, config.remat)


def _make_block(config: ModelConfig, positions: int, *, key: PRNGKeyArray) -> Block:
    mixer_key, mlp_key = jax.random.split(key)
    gate_eps = config.rms_norm_eps if config.gate == "norm" else None
    plain, multiple = config.plain_derivatives, config.inner_multiple
    if config.mixer == "mlp":
        mixer = MLPMixer(SwiGLU(positions, config.expansion, gate_eps, plain, multiple=multiple, key=mixer_key))
    else:
        on_grid = config.positions == "rope_grid"
        theta = config.rope_theta if on_grid or config.positions == "rope" else None
        sizes = config.hidden_size, config.num_heads, config.head_size
        attention = Attention(*sizes, theta, config.fused_attention, plain, on_grid=on_grid, key=mixer_key)
        mixer = AttentionMixer(attention)
    coupling = None
    if config.state == "digits":
        coupling = Coupling(config.hidden_size, plain, key=jax.random.fold_in(key, 0))
    mlp = SwiGLU(config.hidden_size, config.expansion, gate_eps, plain, multiple=multiple, key=mlp_key)
    return Block(mixer, coupling, mlp, config.rms_norm_eps)


def _count_digits(config: ModelConfig, vocab_size: int, seq_len: int) -> int:
    """Return the number of digits with a state of their own; raise InputError for puzzles that cannot have them."""
    if config.positions == "rope_grid" and math.isqrt(seq_len) ** 2 != seq_len:
        raise InputError(f"model.positions: found 'rope_grid' for {seq_len} cells, expected a square board")
    if config.state != "digits":
        return 0
    if vocab_size < FIRST_DIGIT + 2:
        raise InputError(
            f"model.state: found 'digits' for {vocab_size} tokens, expected at least {FIRST_DIGIT + 2}: "
            "padding, a blank, and two digits"
        )
    return vocab_size - FIRST_DIGIT
