"""Random starts: sequences that training starts from other latents than the initial ones (arXiv 2605.21488).

Entry: `draw_starts`, `start_latents`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, UInt32

from trm.configuration.schema import TrainConfig
from trm.model.recursions import Latents


class Starts(eqx.Module):
    """The starts that a step gives to the slots it refills."""

    random: Bool[Array, " batch"]
    """Whether the slot starts from random latents."""
    keys: UInt32[Array, "batch 2"]
    """What they are drawn from: a key for each slot, so that they are the same on any number of devices."""
    std: float = eqx.field(static=True)


def draw_starts(key: PRNGKeyArray, batch: int, config: TrainConfig) -> Starts | None:
    """Draw the starts of one training step; None where every sequence has the initial latents."""
    if not config.random_starts:
        return None
    random_key, latents_key = jax.random.split(key)
    random = jax.random.uniform(random_key, (batch,)) < config.random_starts
    return Starts(random, jax.random.key_data(jax.random.split(latents_key, batch)), config.random_start_std)


def start_latents(initial: Latents, starts: Starts) -> Latents:
    """Replace the initial latents of the slots that start elsewhere."""
    keys = jax.random.wrap_key_data(starts.keys)
    leaves, structure = jax.tree.flatten(initial)

    def start(number: int, latent: Array) -> Array:
        draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), latent.shape[1:]))
        drawn = (starts.std * draw(keys)).astype(latent.dtype)
        return jnp.where(starts.random.reshape(-1, *[1] * (latent.ndim - 1)), drawn, latent)

    return jax.tree.unflatten(structure, [start(number, latent) for number, latent in enumerate(leaves)])
