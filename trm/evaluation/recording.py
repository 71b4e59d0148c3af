"""Records of a batch: latents and answers after every supervision step, and after every cycle.

Entry: `record`, `record_cycles`.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from trm.configuration.schema import Config, ModelConfig
from trm.model.reasoner import Latents, Outputs, Reasoner, reconfigure
from trm.model.weights import Weights
from trm.supervision.halting import wants_to_halt
from trm.supervision.loss import correctness


class Record(NamedTuple):
    """Measurements of a batch after every supervision step, on the host; the second axis is the batch."""

    predictions: Integer[np.ndarray, "steps batch seq_len"]
    q_halt: Float[np.ndarray, "steps batch"]
    """sigmoid(q_halt): the network's probability that every token is right."""
    halts: Bool[np.ndarray, "steps batch"]
    """Whether the halting head would stop after the step."""
    sizes: dict[str, Float[np.ndarray, "points batch"]]
    """Root mean square of each latent, before the first step and after each."""
    distances: dict[str, Float[np.ndarray, "steps batch"]]
    """Root mean square of the change of each latent in a step, as a share of its size after it."""
    read_accuracy: dict[str, Float[np.ndarray, "steps batch"]]
    """Share of right tokens if the token head reads another latent."""


class CycleRecord(NamedTuple):
    """Accuracy of the answer latent in every cycle, on the host.

    The answer latent does not change during L cycles. The head reads the answer latent as an update after each L cycle
    would leave it; the update after the last L cycle is that of the H cycle.
    """

    accuracy: Float[np.ndarray, "steps batch H_cycles L_cycles"]
    """Share of right tokens."""
    exact: Bool[np.ndarray, "steps batch H_cycles L_cycles"]
    """Whether every token is right."""


def record(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    labels: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
    steps: int,
) -> Record:
    """Run supervision steps on a batch of puzzles and record latents and answers."""
    arrays = (jnp.asarray(array, jnp.int32) for array in (inputs, labels, puzzle_identifiers))
    return Record(*jax.device_get(_record(config, steps, weights, *arrays)))


def record_cycles(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    labels: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
    steps: int,
) -> CycleRecord:
    """Run the supervision steps of `record`, up to rounding, and read the answer after each cycle.

    A recursion without `H_cycles` has one H cycle in a step; one without `L_cycles` has one L cycle in an H cycle.
    """
    arrays = (jnp.asarray(array, jnp.int32) for array in (inputs, labels, puzzle_identifiers))
    return CycleRecord(*jax.device_get(_record_cycles(config, steps, weights, *arrays)))


@partial(jax.jit, static_argnums=(0, 1))
def _record(config: Config, steps: int, weights: Weights, inputs: Array, labels: Array, rows: Array) -> tuple:
    weights = jax.tree.map(jnp.asarray, weights)
    model = weights.model
    embedded = weights.puzzle_table[rows]
    answer = model.recursion.answer_latent
    reasoning = [name for name in model.recursion.reasoning_latents if name != answer]

    def step(z: Latents, _: None) -> tuple[Latents, tuple]:
        after, outputs = model(inputs, embedded, z)
        read = {name: correctness(_read_as_answer(model, after, name).predictions, labels) for name in reasoning}
        sizes, distances = {}, {}
        for name, value in _named(after).items():
            sizes[name] = _root_mean_square(value)
            distances[name] = _root_mean_square(value - _named(z)[name]) / jnp.maximum(sizes[name], 1e-12)
        return after, (
            outputs.predictions,
            jax.nn.sigmoid(outputs.q_halt_logits),
            wants_to_halt(outputs, config.halting),
            sizes,
            distances,
            {name: found.accuracy for name, found in read.items()},
        )

    start = model.initial_latents(inputs.shape)
    predictions, q_halt, halts, sizes, *others = jax.lax.scan(step, start, length=steps)[1]
    first = {name: _root_mean_square(value) for name, value in _named(start).items()}
    sizes = {name: jnp.concatenate([first[name][None], values]) for name, values in sizes.items()}
    return predictions, q_halt, halts, sizes, *others


@partial(jax.jit, static_argnums=(0, 1))
def _record_cycles(config: Config, steps: int, weights: Weights, inputs: Array, labels: Array, rows: Array) -> tuple:
    weights = jax.tree.map(jnp.asarray, weights)
    model = weights.model
    x = model.embed(inputs, weights.puzzle_table[rows])
    shorter = _shorter_cycles(model, config.model)

    def step(z: Latents, _: None) -> tuple[Latents, tuple[Array, Array]]:
        cycles = model.recursion.every_cycle(x, z)
        # The latents that each H cycle begins with.
        begins = jax.tree.map(lambda first, all: jnp.concatenate([first[None], all[:-1]]), z, cycles)

        def read_early(begin: Latents) -> list[Array]:
            return [model.read(other.recursion(x, begin)).predictions for other in shorter]

        answers = jnp.stack([*jax.lax.map(read_early, begins), model.read(cycles).predictions], axis=1)
        found = correctness(answers, jnp.broadcast_to(labels, answers.shape))
        last = jax.tree.map(lambda all: all[-1], cycles)
        return last, (jnp.moveaxis(found.accuracy, -1, 0), jnp.moveaxis(found.exact, -1, 0))

    return jax.lax.scan(step, model.initial_latents(inputs.shape), length=steps)[1]


def _shorter_cycles(model: Reasoner, config: ModelConfig) -> list[Reasoner]:
    """Return models with one H cycle of 1, 2, ... L cycles, fewer than the model has; none without such cycles."""
    if not {"H_cycles", "L_cycles"} <= set(model.recursion.settings):
        return []
    one = dataclasses.replace(config, H_cycles=1, differentiated_cycles=1)
    return [reconfigure(model, dataclasses.replace(one, L_cycles=i)) for i in range(1, config.L_cycles)]


def _read_as_answer(model: Reasoner, z: Latents, name: str) -> Outputs:
    answer = model.recursion.answer_latent
    return model.read(eqx.tree_at(lambda latents: getattr(latents, answer), z, getattr(z, name)))


def _named(z: Latents) -> dict[str, Float[Array, "batch ..."]]:
    return {field.name: getattr(z, field.name).astype(jnp.float32) for field in dataclasses.fields(z)}


def _root_mean_square(z: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    return jnp.sqrt(jnp.mean(jnp.square(z), axis=tuple(range(1, z.ndim))))
