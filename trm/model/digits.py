"""The state "digits": one state for each digit of a board, all weights shared by the digits.

The network is equivariant under permutations of the digits: relabelling the digits permutes the latents and the logits,
so a network that has learned one labelling of a puzzle has learned all of them. Token 0 is padding, token 1 a blank,
the others are digits. Entry: `roles_of`, `Coupling`, `token_logits`.
"""

from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from trm.model.layers import Layer, truncated_normal
from trm.model.norm import add_and_norm
from trm.model.precision import linear

BLANK = 1
"""Token of a blank cell; the digits follow it."""
FIRST_DIGIT = BLANK + 1
ROLES = 3
"""Number of roles of a cell for a digit: blank, given as this digit, given as another."""
IMPOSSIBLE = -1e9
"""Logit of padding and of a blank, which no answer contains; finite, in bfloat16 too."""


def roles_of(tokens: Int[Array, "*batch seq_len"], digits: int) -> Int[Array, "*batch digit seq_len"]:
    """Return the role of each cell for each digit: 0 blank or padding, 1 given as this digit, 2 given as another."""
    own = jnp.expand_dims(jnp.arange(FIRST_DIGIT, FIRST_DIGIT + digits), (*range(tokens.ndim - 1), -1))
    given = jnp.broadcast_to(tokens[..., None, :], (*tokens.shape[:-1], digits, tokens.shape[-1]))
    return jnp.where(given <= BLANK, 0, jnp.where(given == own, 1, 2))


def token_logits(
    scores: Float[Array, "*batch digit seq_len"],
) -> Float[Array, "*batch seq_len vocab"]:
    """Return logits of all tokens from the score of each digit at each cell; padding and blank get `IMPOSSIBLE`."""
    by_cell = scores.swapaxes(-1, -2)
    return jnp.pad(by_cell, [(0, 0)] * (by_cell.ndim - 1) + [(FIRST_DIGIT, 0)], constant_values=IMPOSSIBLE)


class Coupling(Layer):
    """Couples the digits of a cell: `rms(h + mean of the others @ read)`."""

    matrices = MappingProxyType({"read": 1})
    read: Float[Array, "hidden hidden"]
    plain: bool = eqx.field(static=True)
    """Whether its derivative is JAX's own."""

    def __init__(self, hidden_size: int, plain: bool = False, *, key: PRNGKeyArray):
        self.read = truncated_normal(key, (hidden_size, hidden_size), hidden_size**-0.5)
        self.plain = plain

    def __call__(
        self, h: Float[Array, "*batch digit position hidden"], eps: float
    ) -> Float[Array, "*batch digit position hidden"]:
        update = linear(mean_of_others(h), self.read, rounded=True, plain=self.plain)
        return add_and_norm(h, update, eps, self.plain)


def mean_of_others(
    h: Float[Array, "*batch digit position hidden"],
) -> Float[Array, "*batch digit position hidden"]:
    """Return for each digit the mean over the other digits, added up in float32."""
    h_float32 = h.astype(jnp.float32)
    total = jnp.broadcast_to(jnp.sum(h_float32, axis=-3, keepdims=True), h.shape)
    return ((total - h_float32) / (h.shape[-3] - 1)).astype(h.dtype)


def pool(h: Float[Array, "*batch digit position hidden"]) -> Float[Array, "*batch hidden"]:
    """Return the mean over digits and positions, added up in float32."""
    return jnp.mean(h.astype(jnp.float32), axis=(-3, -2)).astype(h.dtype)


def one_hot_roles(
    tokens: Int[Array, "*batch seq_len"], digits: int, dtype: jnp.dtype
) -> Float[Array, "*batch digit seq_len role"]:
    """Return the roles as one-hot vectors.

    An embedding is then a matrix product, whose gradient needs no scatter of many rows into three.
    """
    return jax.nn.one_hot(roles_of(tokens, digits), ROLES, dtype=dtype)
