"""Weights: the trained network and the puzzle table."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.reasoner import Reasoner


class Weights(eqx.Module):
    """A trained model, on the devices or the host."""

    model: Reasoner
    puzzle_table: Float[Array | np.ndarray, "identifiers row_size"]
    """Puzzle-embedding rows, one per puzzle identifier."""


def abstract_weights(config: ModelConfig, vocab_size: int, seq_len: int, identifiers: int) -> Weights:
    """Return the shapes and dtypes of weights, without computing any."""

    def make() -> Weights:
        model = Reasoner(config, vocab_size, seq_len, key=jax.random.key(0))
        return Weights(model, jnp.zeros((identifiers, config.row_size)))

    return jax.eval_shape(make)


def check_layers(config: ModelConfig, arrays: int) -> None:
    """Raise InputError for a file that claims more layers than it has arrays, before they are built one by one."""
    layers = max(config.H_layers, config.L_layers)
    if layers > arrays:
        raise InputError(f"found {arrays} arrays, expected those of {layers} layers")
