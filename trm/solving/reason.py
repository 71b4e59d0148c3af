"""Inference: what enters are weights and puzzles as tokens, what leaves is what the network thought after every
supervision step.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from trm.configuration.schema import Config
from trm.model.reasoner import Latents, Outputs
from trm.model.weights import Weights
from trm.supervision.halting import wants_to_halt


class Reasoning(eqx.Module):
    """What the network thought; every array begins with an axis of supervision steps."""

    latents: Latents
    """After each step. What `reason` starts from can be taken from here: `jax.tree.map(lambda z: z[-1], latents)`."""
    outputs: Outputs
    """logits (steps, *batch, seq_len, vocab), q_halt_logits and q_continue_logits (steps, *batch)."""


def reason(
    weights: Weights,
    inputs: Int[Array, "*batch seq_len"],
    puzzle_identifiers: Int[Array, "*batch"] | None = None,
    *,
    steps: int,
    latents: Latents | None = None,
) -> Reasoning:
    """Run supervision steps on puzzles: a pure function, to be compiled, mapped and differentiated.

    Without identifiers every puzzle is the blank one; without `latents` each starts from the beginning. As in training,
    gradients reach the weights through the last updates of each step, and not from one step to the one before.
    """
    weights = jax.tree.map(jnp.asarray, weights)
    model = weights.model
    if puzzle_identifiers is None:
        puzzle_identifiers = jnp.zeros(inputs.shape[:-1], jnp.int32)
    rows = weights.puzzle_table[puzzle_identifiers]
    if latents is None:
        latents = model.initial_latents(inputs.shape)

    def step(z: Latents, _: None) -> tuple[Latents, Reasoning]:
        z, outputs = model(inputs, rows, z)
        return z, Reasoning(z, outputs)

    return jax.lax.scan(step, latents, length=steps)[1]


def confidence(q_halt_logits: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return how sure the network is that every token is right, sigmoid(q_halt), on the host, in float64."""
    # Without overflow.
    return np.exp(-np.logaddexp(0, -q_halt_logits.astype(np.float64)))


class Answers(NamedTuple):
    """The answers to a batch of puzzles after each supervision step, on the host."""

    predictions: Integer[np.ndarray, "steps batch seq_len"]
    confidence: Float[np.ndarray, "steps batch"]
    """sigmoid(q_halt): how sure the network is that every token is right."""
    halts: Bool[np.ndarray, "steps batch"]
    """Whether the halting head would stop here."""

    @property
    def halting_steps(self) -> Integer[np.ndarray, " batch"]:
        """Steps until the halting head would stop, or all of them."""
        return np.where(self.halts.any(axis=0), self.halts.argmax(axis=0) + 1, len(self.halts))


def answer(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
) -> Answers:
    """Run all `halt_max_steps` supervision steps on a batch of puzzles."""
    return Answers(*jax.device_get(_answer(config, weights, jnp.asarray(inputs), jnp.asarray(puzzle_identifiers))))


@partial(jax.jit, static_argnums=0)
def _answer(config: Config, weights: Weights, inputs: Array, puzzle_identifiers: Array) -> tuple[Array, Array, Array]:
    steps = config.halting.halt_max_steps
    outputs = reason(weights, inputs, puzzle_identifiers, steps=steps).outputs
    return outputs.predictions, jax.nn.sigmoid(outputs.q_halt_logits), wants_to_halt(outputs, config.halting)
