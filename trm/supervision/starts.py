"""Starts: sequences that training starts from other latents than the initial ones.

Random starts (arXiv 2605.21488) train the network to reach an answer from any latents. Anchors, starts from an answer
with errors, make answers fixed points (Fixed-Point-Reasoner-Structures, 2026).

Entry: `draw_starts`, `start_latents`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PRNGKeyArray, UInt32

from trm.configuration.schema import TrainConfig
from trm.model.reasoner import Reasoner
from trm.model.recursions import Latents
from trm.supervision.batch import Batch, select


class Starts(eqx.Module):
    """The starts that a step gives to the slots it refills."""

    random: Bool[Array, " batch"]
    """Whether the slot starts from random latents."""
    anchored: Bool[Array, " batch"]
    """Whether the slot starts from its own answer with errors; never with `random`."""
    keys: UInt32[Array, "batch 2"]
    """Key of each slot's draws; one per slot, so that the draws are the same on any number of devices."""
    std: float | None = eqx.field(static=True)
    """Standard deviation of random latents; None where no slot starts from any."""
    errors: float | None = eqx.field(static=True)
    """Share of wrong cells in an answer; None where no slot is anchored."""


def draw_starts(key: PRNGKeyArray, batch: int, config: TrainConfig) -> Starts | None:
    """Draw the starts of one training step; None where every sequence has the initial latents."""
    if not config.random_starts and not config.anchors:
        return None
    which_key, latents_key = jax.random.split(key)
    drawn = jax.random.uniform(which_key, (batch,))
    random = drawn < config.random_starts
    return Starts(
        random,
        anchored=~random & (drawn < config.random_starts + config.anchors),
        keys=jax.random.key_data(jax.random.split(latents_key, batch)),
        std=config.random_start_std if config.random_starts else None,
        errors=config.anchor_errors if config.anchors else None,
    )


def start_latents(model: Reasoner, fresh: Batch, starts: Starts | None) -> Latents:
    """Return the latents that sequences start from: the initial ones, random ones, or an answer with errors."""
    z = model.initial_latents(fresh.inputs.shape)
    if starts is None:
        return z
    keys = jax.random.wrap_key_data(starts.keys)
    if starts.std is not None:
        z = select(starts.random, _random_latents(keys, z, starts.std), z)
    if starts.errors is not None:
        z = select(starts.anchored, _anchors(model, keys, z, fresh.labels, starts.errors), z)
    return z


def _random_latents(keys: Key[Array, " batch"], like: Latents, std: float) -> Latents:
    leaves, structure = jax.tree.flatten(like)

    def draw(number: int, latent: Array) -> Array:
        drawn = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), latent.shape[1:]))(keys)
        return (std * drawn).astype(latent.dtype)

    return jax.tree.unflatten(structure, [draw(number, latent) for number, latent in enumerate(leaves)])


def _anchors(
    model: Reasoner, keys: Key[Array, " batch"], z: Latents, labels: Int[Array, "batch seq_len"], share: float
) -> Latents:
    """Return latents whose answer is the embedded solution, a share of its cells wrong."""
    # Other numbers than those of the latents.
    own = jax.vmap(lambda key: jax.random.fold_in(key, len(jax.tree.leaves(z))))(keys)
    # Ignored cells become padding.
    answers = jax.vmap(lambda key, answer: _with_errors(key, answer, share))(own, jnp.maximum(labels, 0))
    embedded = model.embed(answers, jnp.zeros((len(answers), 0)))
    name, prefix = model.recursion.answer_latent, model.prefix_len
    # The prefix has no cells: it keeps its latents.
    anchor = jnp.concatenate([getattr(z, name)[..., :prefix, :], embedded[..., prefix:, :]], axis=-2)
    return eqx.tree_at(lambda z: getattr(z, name), z, anchor)


def _with_errors(key: PRNGKeyArray, answer: Int[Array, " seq_len"], share: float) -> Int[Array, " seq_len"]:
    """Give a share of the cells the token of another random cell, so that every token is one of an answer."""
    where_key, source_key = jax.random.split(key)
    wrong = jax.random.uniform(where_key, answer.shape) < share
    return jnp.where(wrong, jax.random.permutation(source_key, answer), answer)
