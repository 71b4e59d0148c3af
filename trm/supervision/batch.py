"""Batches of puzzles on the devices, and the window of training rows that slots are refilled from.

Entry: `Batch`, `place_batch`, `Window`; `select`.
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int

from trm.parallel.mesh import SPLIT, place_array
from trm.puzzles.loader import HostBatch

T = TypeVar("T")


class Batch(eqx.Module):
    """Puzzles as tokens. Ignored labels are -100."""

    inputs: Int[Array, "*batch seq_len"]
    labels: Int[Array, "*batch seq_len"]
    puzzle_identifiers: Int[Array, "*batch"]


def place_batch(batch: HostBatch, mesh: Mesh, spec: PartitionSpec = SPLIT) -> Batch:
    """Put a batch on the devices, split over them unless `spec` says otherwise.

    With several processes, each passes its own slice of a split array.
    """
    return Batch(*(place_array(array, mesh, spec) for array in batch))


class Window(eqx.Module):
    """A part of the queue of training rows, the same on every device, from which a step refills its slots."""

    rows: Batch
    start: Int[Array, ""]
    """Place of the first row in the queue."""

    def assign_rows(self, halted: Bool[Array, " batch"], rows_used: Int[Array, ""]) -> tuple[Batch, Int[Array, ""]]:
        """Assign the next rows of the queue to the halted slots, in order; return them and the new `rows_used`.

        `rows_used` counts the rows of the queue that earlier steps used. The other slots get any row, which
        `Carry.refill` ignores.
        """
        places = rows_used - self.start + jnp.cumsum(halted.astype(jnp.int32)) - 1
        assigned = jax.tree.map(lambda rows: rows.at[places].get(mode="clip"), self.rows)
        return assigned, rows_used + jnp.sum(halted, dtype=jnp.int32)


def select(where: Bool[Array, " batch"], new: T, old: T) -> T:
    """Choose between two trees of arrays, sequence by sequence."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(choose, new, old)
