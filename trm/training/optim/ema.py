"""The exponential moving average of the weights. Entry: `update_ema`."""

from typing import TypeVar

import jax

T = TypeVar("T")


def update_ema(ema: T, params: T, rate: float) -> T:
    """Move an exponential moving average one step towards the parameters."""
    return jax.tree.map(lambda average, p: rate * average + (1 - rate) * p, ema, params)
