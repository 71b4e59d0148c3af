"""The carry: the state of every slot between two supervision steps.

A slot holds one sequence until the sequence halts; then the next puzzle takes the slot. A batch therefore mixes
sequences at different supervision steps, and no slot is idle (arXiv 2510.04871, section 2.4).

Entry: `Carry` with `empty`, `refill` and `advance`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from trm.configuration.schema import HaltingConfig
from trm.model.reasoner import Outputs, Reasoner
from trm.model.recursions import Latents
from trm.supervision.batch import Batch, select
from trm.supervision.halting import wants_to_halt
from trm.supervision.starts import Starts, start_latents


class Carry(eqx.Module):
    """State of the slots between supervision steps, one slot per sequence."""

    latents: Latents
    steps: Int[Array, " batch"]
    """Supervision steps made on the sequence."""
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

    def refill(self, model: Reasoner, fresh: Batch, starts: Starts | None = None) -> "Carry":
        """Give every halted slot the row of `fresh` at its place. Rows at the places of other slots are dropped.

        `starts`: starts of the refilled slots; None: all start from the initial latents.
        """
        return Carry(
            latents=select(self.halted, start_latents(model, fresh, starts), self.latents),
            steps=jnp.where(self.halted, 0, self.steps),
            halted=jnp.zeros_like(self.halted),
            batch=select(self.halted, fresh, self.batch),
        )

    def advance(
        self, latents: Latents, outputs: Outputs, config: HaltingConfig, min_halt_steps: Int[Array, " batch"] | None
    ) -> "Carry":
        """Count a supervision step and decide which sequences halt.

        `min_halt_steps`: the exploration draws of a training step; None in evaluation.
        """
        steps = self.steps + 1
        halted = steps >= config.halt_max_steps
        may_halt_early = config.act_inference if min_halt_steps is None else config.act_enabled
        if may_halt_early and config.halt_max_steps > 1:
            halted = halted | wants_to_halt(outputs, config)
            if min_halt_steps is not None:
                halted = halted & (steps >= min_halt_steps)
        return Carry(latents, steps, halted, self.batch)
