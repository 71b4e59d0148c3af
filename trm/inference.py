"""Inference: what enters are weights and puzzles as tokens, what leaves is the answer after every supervision step."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from trm.checkpoint import Weights
from trm.config import Config
from trm.data.puzzles import IGNORED_LABEL
from trm.halting import Batch, Carry, wants_to_halt
from trm.supervision import supervision_step


class Reasoning(NamedTuple):
    """What the network thought after each supervision step."""

    predictions: Integer[np.ndarray, "steps batch seq_len"]
    confidence: Float[np.ndarray, "steps batch"]
    """sigmoid(q_halt): how sure the network is that every token is right."""
    halts: Bool[np.ndarray, "steps batch"]
    """Whether the halting head would stop here."""

    @property
    def halting_steps(self) -> Integer[np.ndarray, " batch"]:
        """Steps until the halting head would stop, or all of them."""
        return np.where(self.halts.any(axis=0), self.halts.argmax(axis=0) + 1, len(self.halts))


def reason(
    weights: Weights,
    config: Config,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
) -> Reasoning:
    """Run all `halt_max_steps` supervision steps on a batch of puzzles."""
    return Reasoning(*jax.device_get(_reason(config, weights, jnp.asarray(inputs), jnp.asarray(puzzle_identifiers))))


@partial(jax.jit, static_argnums=0)
def _reason(config: Config, weights: Weights, inputs: Array, puzzle_identifiers: Array) -> tuple[Array, Array, Array]:
    model = weights.model
    batch = Batch(inputs, jnp.full_like(inputs, IGNORED_LABEL), puzzle_identifiers)
    rows = weights.puzzle_table[puzzle_identifiers]

    def step(carry: Carry, _):
        _, (carry, outputs, _) = supervision_step(model, rows, carry, config, min_halt_steps=None)
        confidence = jax.nn.sigmoid(outputs.q_halt_logits)
        return carry, (outputs.predictions, confidence, wants_to_halt(outputs, config.halting))

    carry = Carry.empty(model, batch).refill(model, batch)
    _, after_each_step = jax.lax.scan(step, carry, length=config.halting.halt_max_steps)
    return after_each_step
