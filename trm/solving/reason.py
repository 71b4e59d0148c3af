"""Inference: supervision steps on puzzles, as a pure function.

Entry: `reason`; `answer_every_step` for the answers on the host after each step.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from trm.configuration.schema import Config
from trm.model.reasoner import Latents, Outputs
from trm.model.weights import Weights
from trm.puzzles.ranges import check_range
from trm.supervision.halting import wants_to_halt


class Reasoning(eqx.Module):
    """Latents and outputs after each supervision step. Every array begins with an axis of steps."""

    latents: Latents
    """Latents after each step. `jax.tree.map(lambda z: z[-1], latents)` are those from which `reason` can continue."""
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
    """Run supervision steps on puzzles. The function is pure and can be compiled, mapped and differentiated.

    Without identifiers every puzzle has the blank identifier. Without `latents` each puzzle starts from the initial
    latents. As in training, gradients reach the weights through the last updates of each step, and do not pass from one
    step to the one before.

    Raises InputError for tokens and identifiers out of range, unless they are traced.
    """
    check_inputs(weights, inputs, puzzle_identifiers)
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


def check_inputs(
    weights: Weights,
    inputs: Num[Array | np.ndarray, "*batch seq_len"],
    puzzle_identifiers: Num[Array | np.ndarray, "*batch"] | None,
) -> None:
    """Raise InputError for tokens or identifiers that the weights have no row for. Traced arrays are not checked."""
    counts = weights.model.vocab_size, len(weights.puzzle_table)
    for name, array, count in zip(("inputs", "puzzle_identifiers"), (inputs, puzzle_identifiers), counts, strict=True):
        if array is None or isinstance(array, Tracer):
            continue
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            continue
        check_range(name, np.asarray(jax.device_get(array)), count)


def confidence(q_halt_logits: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return sigmoid(q_halt), the network's probability that every token is right, on the host in float64."""
    # Unlike 1 / (1 + exp(-x)), this does not overflow.
    return np.exp(-np.logaddexp(0, -q_halt_logits.astype(np.float64)))


class AnswersByStep(NamedTuple):
    """The answers to a batch of puzzles after each supervision step, on the host."""

    predictions: Integer[np.ndarray, "steps batch seq_len"]
    confidence: Float[np.ndarray, "steps batch"]
    """sigmoid(q_halt): the network's probability that every token is right."""
    halts: Bool[np.ndarray, "steps batch"]
    """Whether the halting head would stop here."""

    @property
    def halting_steps(self) -> Integer[np.ndarray, " batch"]:
        """Steps until the halting head would stop, or all of them."""
        return np.where(self.halts.any(axis=0), self.halts.argmax(axis=0) + 1, len(self.halts))


def answer_every_step(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
) -> AnswersByStep:
    """Run all `halt_max_steps` supervision steps on a batch of puzzles; raise InputError as `reason` does."""
    check_inputs(weights, inputs, puzzle_identifiers)
    arrays = _answer_every_step(config, weights, jnp.asarray(inputs), jnp.asarray(puzzle_identifiers))
    return AnswersByStep(*jax.device_get(arrays))


@partial(jax.jit, static_argnums=0)
def _answer_every_step(
    config: Config, weights: Weights, inputs: Array, puzzle_identifiers: Array
) -> tuple[Array, Array, Array]:
    steps = config.halting.halt_max_steps
    outputs = reason(weights, inputs, puzzle_identifiers, steps=steps).outputs
    return outputs.predictions, jax.nn.sigmoid(outputs.q_halt_logits), wants_to_halt(outputs, config.halting)
