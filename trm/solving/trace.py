"""Traces: the answers of a network after every supervision step and every H cycle. Entry: `trace`; `trace_by_step`.

The supervision steps are those of `trm.solving.reason.reason`. The H cycles of a step begin at the same latents, and
the last of them gives the result of the step.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from trm.configuration.schema import Config
from trm.model.reasoner import Latents, Outputs
from trm.model.weights import Weights
from trm.solving.reason import check_inputs
from trm.supervision.halting import wants_to_halt
from trm.supervision.loss import LOG_PROBABILITIES


class Trace(NamedTuple):
    """The answers to a batch of puzzles after every H cycle of every supervision step, on the host."""

    predictions: Integer[np.ndarray, "steps cycles batch seq_len"]
    confidence: Float[np.ndarray, "steps cycles batch seq_len"]
    """The network's probability of each answered token, by the softmax or stablemax of the training loss."""
    q_halt: Float[np.ndarray, "steps cycles batch"]
    """sigmoid(q_halt): the network's probability that every token is right."""
    halts: Bool[np.ndarray, "steps batch"]
    """Whether the halting head would stop after the step."""


def trace(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
    steps: int | None = None,
    latents: Latents | None = None,
) -> Trace:
    """Run `steps` supervision steps on a batch of puzzles (default: as in training).

    Without `latents` each puzzle starts from the initial latents. A recursion without H cycles has one in each step.
    Raises InputError as `reason` does.
    """
    check_inputs(weights, inputs, puzzle_identifiers)
    steps = steps or config.halting.halt_max_steps
    if latents is None:
        latents = weights.model.initial_latents(inputs.shape)
    _, found = _trace(config, steps, weights, jnp.asarray(inputs), jnp.asarray(puzzle_identifiers), latents)
    return Trace(*jax.device_get(found))


def trace_by_step(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
    steps: int,
    latents: Latents,
) -> Iterator[Trace]:
    """Yield the trace of each supervision step as soon as the step is made; otherwise as `trace`."""
    check_inputs(weights, inputs, puzzle_identifiers)
    arrays = weights, jnp.asarray(inputs), jnp.asarray(puzzle_identifiers)
    for _ in range(steps):
        latents, found = _trace(config, 1, *arrays, latents)
        yield Trace(*jax.device_get(found))


@partial(jax.jit, static_argnums=(0, 1))
def _trace(
    config: Config, steps: int, weights: Weights, inputs: Array, puzzle_identifiers: Array, latents: Latents
) -> tuple[Latents, tuple[Array, Array, Array, Array]]:
    weights = jax.tree.map(jnp.asarray, weights)
    model = weights.model
    rows = weights.puzzle_table[puzzle_identifiers]
    x = model.embed(inputs, rows)

    def step(z: Latents, _: None) -> tuple[Latents, tuple[Array, Array, Array, Array]]:
        cycles = model.read(model.recursion.every_cycle(x, z))
        # The step is run as `reason` runs it: rounding must not lead the trace to another answer.
        z, outputs = model(inputs, rows, z)
        every: Outputs = jax.tree.map(lambda all, last: jnp.concatenate([all[:-1], last[None]]), cycles, outputs)
        certain = jnp.exp(LOG_PROBABILITIES[config.loss.type](every.logits).max(axis=-1))
        q_halt = jax.nn.sigmoid(every.q_halt_logits)
        return z, (every.predictions, certain, q_halt, wants_to_halt(outputs, config.halting))

    return jax.lax.scan(step, latents, length=steps)
