"""The schedule of learning rates. Entry: `warmup_cosine`."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Schedule = Callable[[ArrayLike], Array]
"""An `optax.Schedule` whose values are arrays."""


def warmup_cosine(base: float, warmup_steps: int, total_steps: int, min_ratio: float) -> Schedule:
    """Rise linearly from 0 at step 0 to `base` at `warmup_steps`, then fall by a cosine to `base * min_ratio`.

    Step n (from 1) of training uses the value at n. After the last step the value is constant.
    """

    def schedule(step: ArrayLike) -> Float[Array, "..."]:
        step = jnp.asarray(step, jnp.result_type(float))
        progress = jnp.minimum((step - warmup_steps) / max(1, total_steps - warmup_steps), 1)
        falling = min_ratio + (1 - min_ratio) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return base * jnp.where(step < warmup_steps, step / max(1, warmup_steps), falling)

    return schedule
