"""Optimisation: AdamATan2, or Muon and AdamW, for the network, sign SGD for puzzle embeddings, their schedule, and the
moving average.
"""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from trm.configuration.schema import OptimizerConfig
from trm.model.reasoner import Reasoner
from trm.training.optim.muon import muon

T = TypeVar("T")

Schedule = Callable[[ArrayLike], Array]
"""An `optax.Schedule` whose values are arrays."""


def warmup_cosine(base: float, warmup_steps: int, total_steps: int, min_ratio: float) -> Schedule:
    """Rise linearly from 0 at step 0 to `base` at `warmup_steps`, then fall by a cosine to `base * min_ratio`.

    Step n (from 1) of training uses the value at n.
    """

    def schedule(step: ArrayLike) -> Float[Array, "..."]:
        step = jnp.asarray(step, jnp.result_type(float))
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        falling = min_ratio + (1 - min_ratio) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return base * jnp.where(step < warmup_steps, step / max(1, warmup_steps), falling)

    return schedule


class AdamState(eqx.Module):
    """Moments of the gradients."""

    count: Int[Array, ""]
    mean: PyTree
    mean_square: PyTree


def adam_atan2(
    learning_rate: optax.Schedule, beta1: float, beta2: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adam whose ratio of moments goes through atan2 and so needs no epsilon, with decoupled weight decay.

    arXiv 2407.05872, in the form of the package adam-atan2 0.0.3 that the original uses: the correction of the first
    moment stands outside atan2, there are no constants inside.
    """
    return _adam(jnp.atan2, learning_rate, beta1, beta2, weight_decay)


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

    # Optax knows no modules among its types of trees.
    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Make the optimiser of a `Reasoner`'s weights; with `freeze_weights` it changes nothing."""
    if config.freeze_weights:
        return optax.set_to_zero()

    def schedule(base: float) -> Schedule:
        return warmup_cosine(base, config.lr_warmup_steps, total_steps, config.lr_min_ratio)

    optimizer = (
        _muon_and_adamw(config, schedule)
        if config.type == "muon"
        else adam_atan2(schedule(config.lr), config.beta1, config.beta2, config.weight_decay)
    )
    if not config.max_gradient_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optimizer)


def _muon_and_adamw(config: OptimizerConfig, schedule: Callable[[float], Schedule]) -> optax.GradientTransformation:
    """Muon for the matrices of the networks, AdamW for embeddings, register and heads."""

    def kinds(model: Reasoner) -> Reasoner:
        every = jax.tree.map(lambda _: "adamw", model)
        matrices = jax.tree.map(lambda _: "muon", model.recursion)
        return eqx.tree_at(lambda tree: tree.recursion, every, matrices)

    transforms = {
        "muon": muon(schedule(config.muon_lr), config.muon_momentum, config.muon_weight_decay),
        "adamw": adamw(schedule(config.lr), config.beta1, config.beta2, config.weight_decay),
    }
    return optax.partition(transforms, kinds)  # pyright: ignore[reportArgumentType]


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


def update_ema(ema: T, params: T, rate: float) -> T:
    """Move an exponential moving average one step towards the parameters."""
    return jax.tree.map(lambda average, p: rate * average + (1 - rate) * p, ema, params)
