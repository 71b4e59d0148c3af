"""Adam: AdamATan2 and AdamW. Entry: `adam_atan2`, `adamw`."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from trm.configuration.schema import OptimizerConfig
from trm.training.optim.base import OPTIMIZERS, MakeSchedule


class AdamState(eqx.Module):
    """Moments of the gradients."""

    count: Int[Array, ""]
    mean: PyTree
    mean_square: PyTree


def adam_atan2(
    learning_rate: optax.Schedule, beta1: float, beta2: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adam whose ratio of moments goes through atan2 and so needs no epsilon, with decoupled weight decay.

    arXiv 2407.05872, in the form of the package adam-atan2 0.0.3 that the original uses: the bias correction of the
    first moment is outside atan2, and no constants are inside.
    """
    return _adam(jnp.atan2, learning_rate, beta1, beta2, weight_decay)


@OPTIMIZERS.register("adam_atan2")
def make_adam_atan2(config: OptimizerConfig, schedule: MakeSchedule) -> optax.GradientTransformation:
    """Make the optimiser of the published experiments: AdamATan2 for every weight."""
    return adam_atan2(schedule(config.lr), config.beta1, config.beta2, config.weight_decay)


def adamw(
    learning_rate: optax.Schedule, beta1: float, beta2: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (arXiv 1711.05101), epsilon 1e-8."""
    return _adam(lambda mean, deviation: mean / (deviation + 1e-8), learning_rate, beta1, beta2, weight_decay)


def _adam(
    ratio: Callable[[Array, Array], Array],
    learning_rate: optax.Schedule,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """Step by a ratio of the first moment to the root of the second."""

    def init(params: PyTree) -> AdamState:
        def zeros() -> PyTree:
            return jax.tree.map(jnp.zeros_like, params)

        return AdamState(jnp.zeros((), jnp.int32), zeros(), zeros())

    def update(gradients: PyTree, state: AdamState, params: PyTree | None = None) -> tuple[PyTree, AdamState]:
        if params is None:
            raise ValueError("params: found None, expected the parameters, for their decay")
        count = state.count + 1
        step = count.astype(jnp.float32)
        mean = jax.tree.map(lambda m, g: m + (1 - beta1) * (g - m), state.mean, gradients)
        mean_square = jax.tree.map(lambda v, g: v + (1 - beta2) * (g * g - v), state.mean_square, gradients)
        rate = jnp.asarray(learning_rate(count), jnp.float32)
        step_size = rate / (1 - jnp.float32(beta1) ** step)
        correction = jnp.sqrt(1 - jnp.float32(beta2) ** step)

        def change(p: Array, m: Array, v: Array) -> Array:
            return -(rate * weight_decay) * p - step_size * ratio(m, jnp.sqrt(v) / correction)

        return jax.tree.map(change, params, mean, mean_square), AdamState(count, mean, mean_square)

    # Optax's types of trees do not include modules.
    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
