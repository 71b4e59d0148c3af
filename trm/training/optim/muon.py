"""Muon: updates of matrices by orthogonalised momentum. Entry: `muon`.

The momentum of each matrix is replaced by nearly the nearest orthogonal matrix (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon).
"""

from collections.abc import Hashable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from trm.configuration.schema import OptimizerConfig
from trm.model.layers import fan_out_over_fan_in
from trm.model.precision import product
from trm.training.optim.adam import adamw
from trm.training.optim.base import OPTIMIZERS, MakeSchedule

NEWTON_SCHULZ_STEPS = 3
"""Newton-Schulz steps in an update, as in arXiv 2601.19085; five are usual."""
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of a s + b s^3 + c s^5, which moves singular values from (0, 1] to about 1 in a few steps."""


class MuonState(eqx.Module):
    """Moving averages of the gradients."""

    count: Int[Array, ""]
    momentum: PyTree


def muon(learning_rate: optax.Schedule, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """Muon with Nesterov momentum and decoupled weight decay, for the matrices that layers declare.

    `m = momentum * m + (1 - momentum) * g`, then `p = p * (1 - lr * wd) - lr * scale * orthogonal(n)` with
    `n = momentum * m + (1 - momentum) * g` and `scale = sqrt(max(1, out / in))`. One field of a layer (gate and up;
    queries, keys and values) is one matrix here.

    `optax.contrib.muon` corrects the two terms of the Nesterov momentum for their bias, and has Nesterov momentum in
    Adam too.
    """

    def init(params: PyTree) -> MuonState:
        return MuonState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(gradients: PyTree, state: MuonState, params: PyTree | None = None) -> tuple[PyTree, MuonState]:
        if params is None:
            raise ValueError("params: found None, expected the parameters, for their decay")
        count = state.count + 1
        rate = jnp.asarray(learning_rate(count), jnp.float32)

        def blend(m: Array, g: Array) -> Array:
            return momentum * m + (1 - momentum) * g

        averages = jax.tree.map(blend, state.momentum, gradients)
        ahead = jax.tree.map(blend, averages, gradients)

        def change(p: Array, n: Array, ratio: float) -> Array:
            return -(rate * weight_decay) * p - rate * max(1.0, ratio) ** 0.5 * orthogonalize(n)

        return jax.tree.map(change, params, ahead, fan_out_over_fan_in(params)), MuonState(count, averages)

    # Optax's types of trees do not include modules.
    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


@OPTIMIZERS.register("muon")
def make_muon(config: OptimizerConfig, schedule: MakeSchedule) -> optax.GradientTransformation:
    """Make Muon for the matrices that layers declare, and AdamW for every other weight, of any rank."""

    def label(params: PyTree) -> PyTree:
        ratios = fan_out_over_fan_in(params)
        return jax.tree.map(lambda _, ratio: "adamw" if ratio is None else "muon", params, ratios)

    transforms: dict[Hashable, optax.GradientTransformation] = {
        "muon": muon(schedule(config.muon_lr), config.muon_momentum, config.muon_weight_decay),
        "adamw": adamw(schedule(config.lr), config.beta1, config.beta2, config.weight_decay),
    }
    return optax.partition(transforms, label)  # pyright: ignore[reportArgumentType]


def orthogonalize(matrix: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Bring the singular values near 1, by Newton-Schulz steps.

    Singular values above a hundredth of the matrix's Frobenius norm end between 0.4 and 1.21; 0 stays 0.
    """
    # The product over the longer axis gives the smaller Gram matrix.
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (jnp.linalg.norm(wide) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = product("ij,kj->ik", x, x)
        x = _A * x + product("ij,jk->ik", _B * gram + _C * product("ij,jk->ik", gram, gram), x)
    return x if wide is matrix else x.T
