"""Numbers that are not finite: the error that ends a run, and the step that a run skips because of them.

A run that rewinds goes back to its newest checkpoint and repeats the steps after it, except the one whose numbers were
not finite. That step trains nothing: its batch is dropped, and so is every sequence in the carry; any of them may be
the cause. Checkpoints list the skipped steps. The checkpoint that the run went back to is written again with them, so
that a run that is killed and resumed skips the same steps, even if a device would not repeat the error.

Entry: `NonFinite`, `skip_step`.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from trm.training.state import TrainState, state_shardings

OnNonfinite = Literal["stop", "rewind"]

MAX_IN_A_ROW = 3
"""Consecutive steps that a run skips before it gives up: then the state itself is damaged."""


class NonFinite(FloatingPointError):
    """A metric of a step is not finite."""

    def __init__(self, step: int, what: str, kept: Path | None):
        """Take the step, a description of the number, and the newest checkpoint."""
        self.step, self.what, self.kept = step, what, kept
        where = f"The last good checkpoint is {kept}." if kept else "There is no checkpoint before this step."
        super().__init__(f"step {step}: {what}; the run ends here. {where}")

    @property
    def rewinding(self) -> str:
        """The warning when the run goes back."""
        target = self.kept.name if self.kept else "the start"
        return f"warning: step {self.step}: {self.what}; going back to {target} and skipping step {self.step}"


def skip_step(state: TrainState, mesh: Mesh) -> TrainState:
    """Return the state after a step that trains nothing and drops every sequence."""
    shardings = state_shardings(state, mesh)
    return jax.jit(_skip, donate_argnums=0, out_shardings=shardings)(state)


def _skip(state: TrainState) -> TrainState:
    batch = state.carry.halted.shape[0]
    carry = dataclasses.replace(state.carry, halted=jnp.ones_like(state.carry.halted))
    rows_taken = None if state.rows_taken is None else state.rows_taken + batch
    return eqx.tree_at(
        lambda s: (s.step, s.carry, s.rows_taken),
        state,
        (state.step + 1, carry, rows_taken),
        is_leaf=lambda leaf: leaf is None,
    )
