"""Sign SGD for the puzzle table, of which a batch uses a few rows (as in the original). Entry: `sign_sgd_rows`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def sign_sgd_rows(
    table: Float[Array, "rows row_size"],
    identifiers: Int[Array, " batch"],
    gradients: Float[Array, "batch row_size"],
    learning_rate: Float[Array, ""] | float,
    weight_decay: float,
) -> Float[Array, "rows row_size"]:
    """Update the rows of a table that a batch used: decay each once, then step by the sign of its summed gradient.

    `row * (1 - lr * wd) - lr * sign(sum)`, sign(0) = 0; gradients of equal identifiers are summed first. Other rows are
    neither read nor written, so with a donated table the cost does not grow with its rows.
    """
    batch = len(identifiers)
    # Unused places of the fixed-size result point past the table, where reads are clipped and writes are dropped.
    unique, places = jnp.unique(identifiers, size=batch, fill_value=len(table), return_inverse=True)
    sums = jax.ops.segment_sum(gradients, places, num_segments=batch)
    rows = table.at[unique].get(mode="clip")
    rows = rows * (1 - learning_rate * weight_decay) - learning_rate * jnp.sign(sums)
    return table.at[unique].set(rows, mode="drop", indices_are_sorted=True)
