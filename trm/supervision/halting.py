"""Adaptive computation: what enters is a carry and fresh puzzles, what leaves is the carry one supervision step later.

Every slot of the batch holds one sequence until it halts; then the next puzzle takes its place. So a batch mixes
sequences at different depths, and no slot ever idles (arXiv 2510.04871, section 2.4).
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from trm.configuration.schema import HaltingConfig
from trm.model.reasoner import Outputs, Reasoner
from trm.model.recursion import Latents
from trm.parallel.mesh import SPLIT, place_array
from trm.puzzles.loader import HostBatch

T = TypeVar("T")


class Batch(eqx.Module):
    """Puzzles as tokens; ignored labels are -100."""

    inputs: Int[Array, "*batch seq_len"]
    labels: Int[Array, "*batch seq_len"]
    puzzle_identifiers: Int[Array, "*batch"]


def place_batch(batch: HostBatch, mesh: Mesh, spec: PartitionSpec = SPLIT) -> Batch:
    """Split a batch over the devices; with several processes each brings its own slice of what is split."""
    return Batch(*(place_array(array, mesh, spec) for array in batch))


class Window(eqx.Module):
    """Rows that a step may need of the queue of all training rows, the same on every device."""

    rows: Batch
    start: Int[Array, ""]
    """The place of the first in the queue."""

    def deal(self, halted: Bool[Array, " batch"], taken: Int[Array, ""]) -> tuple[Batch, Int[Array, ""]]:
        """Deal rows out to halted slots, in order, from the first that is not `taken`; return how many are taken then.

        The others get any row, for `Carry.refill` to pass over.
        """
        places = taken - self.start + jnp.cumsum(halted.astype(jnp.int32)) - 1
        dealt = jax.tree.map(lambda rows: rows.at[places].get(mode="clip"), self.rows)
        return dealt, taken + jnp.sum(halted, dtype=jnp.int32)


class Carry(eqx.Module):
    """What goes from one supervision step to the next, one slot per sequence."""

    latents: Latents
    steps: Int[Array, " batch"]
    """Supervision steps that the sequence has had."""
    halted: Bool[Array, " batch"]
    batch: Batch
    """The sequence's own data."""

    @staticmethod
    def empty(model: Reasoner, batch: Batch) -> "Carry":
        """Return a carry in which every slot waits for a puzzle."""
        return Carry(
            latents=model.initial_latents(batch.inputs.shape),
            steps=jnp.zeros_like(batch.puzzle_identifiers),
            halted=jnp.ones_like(batch.puzzle_identifiers, bool),
            batch=jax.tree.map(jnp.zeros_like, batch),
        )

    def refill(self, model: Reasoner, fresh: Batch) -> "Carry":
        """Give every halted slot the row of `fresh` at its place; rows offered to the other slots are lost."""
        initial = model.initial_latents(fresh.inputs.shape)
        return Carry(
            latents=select(self.halted, initial, self.latents),
            steps=jnp.where(self.halted, 0, self.steps),
            halted=jnp.zeros_like(self.halted),
            batch=select(self.halted, fresh, self.batch),
        )

    def advance(
        self, latents: Latents, outputs: Outputs, config: HaltingConfig, min_halt_steps: Int[Array, " batch"] | None
    ) -> "Carry":
        """Count a supervision step and decide who halts.

        In training `min_halt_steps` holds the exploration draws; None means evaluation.
        """
        steps = self.steps + 1
        halted = steps >= config.halt_max_steps
        may_halt_early = config.act_inference if min_halt_steps is None else config.act_enabled
        if may_halt_early and config.halt_max_steps > 1:
            halted = halted | wants_to_halt(outputs, config)
            if min_halt_steps is not None:
                halted = halted & (steps >= min_halt_steps)
        return Carry(latents, steps, halted, self.batch)


def wants_to_halt(outputs: Outputs, config: HaltingConfig) -> Bool[Array, "*batch"]:
    """Say whether the halting head takes the answer for right."""
    if config.q_continue == "unused":
        return outputs.q_halt_logits > 0
    return outputs.q_halt_logits > outputs.q_continue_logits


def draw_min_halt_steps(key: PRNGKeyArray, batch: int, config: HaltingConfig) -> Int[Array, " batch"]:
    """Draw the exploration of one training step: mostly 0, sometimes uniform on 2..halt_max_steps."""
    explore_key, steps_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, (batch,)) < config.halt_exploration_prob
    steps = jax.random.randint(steps_key, (batch,), 2, config.halt_max_steps + 1)
    return jnp.where(explore, steps, 0)


def q_continue_target(
    next_outputs: Outputs, steps: Int[Array, " batch"], config: HaltingConfig
) -> Float[Array, " batch"]:
    """Return what q_continue should say after `steps` steps: the best that the next step promises (Q-learning)."""
    best = jnp.maximum(next_outputs.q_halt_logits, next_outputs.q_continue_logits)
    is_last = steps >= config.halt_max_steps
    return jax.lax.stop_gradient(jax.nn.sigmoid(jnp.where(is_last, next_outputs.q_halt_logits, best)))


def select(where: Bool[Array, " batch"], new: T, old: T) -> T:
    """Choose between two trees of arrays for each sequence."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(choose, new, old)
