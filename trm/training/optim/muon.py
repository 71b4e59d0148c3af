"""Muon: what enters are the gradients of a network's matrices, what leaves are updates that stretch nothing.

The momentum of each matrix is replaced by about the nearest orthogonal one, so that an update is equally large in all
directions (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from trm.model.layers import outputs_over_inputs
from trm.model.precision import product

NEWTON_SCHULZ_STEPS = 3
"""As many as arXiv 2601.19085 takes; five are usual."""
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Of the polynomial a s + b s^3 + c s^5, which takes singular values from (0, 1] to about 1 in a few steps."""


class MuonState(eqx.Module):
    """Averages of the gradients."""

    count: Int[Array, ""]
    momentum: PyTree


def muon(learning_rate: optax.Schedule, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """Muon with Nesterov momentum and decoupled weight decay, for trees of `trm.model.layers`.

    `m = momentum * m + (1 - momentum) * g`, then `p = p * (1 - lr * wd) - lr * scale * orthogonal(n)` with
    `n = momentum * m + (1 - momentum) * g` and `scale = sqrt(max(1, out / in))`. What a layer keeps as one matrix
    (gate and up; queries, keys and values) is one matrix here.

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

        return jax.tree.map(change, params, ahead, outputs_over_inputs(params)), MuonState(count, averages)

    # Optax knows no modules among its types of trees.
    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def orthogonalize(matrix: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Bring the singular values near 1, by Newton-Schulz steps.

    Those of more than a hundredth of the matrix's Frobenius norm end between 0.4 and 1.21; 0 stays 0.
    """
    # The product of the longer sides is the smaller matrix.
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (jnp.linalg.norm(wide) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = product("ij,kj->ik", x, x)
        x = _A * x + product("ij,jk->ik", _B * gram + _C * product("ij,jk->ik", gram, gram), x)
    return x if wide is matrix else x.T
