"""Optimisers against plain NumPy, one number at a time."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import tiny_config
from jaxtyping import PyTree

from trm.optimizer import adam_atan2, make_optimizer, sign_sgd_rows, update_ema, warmup_cosine


def update(
    optimizer: optax.GradientTransformation, gradients: PyTree, state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    """Make one update; what Optax says of its trees leaves out that they can hold None."""
    return optimizer.update(gradients, state, params)


def test_adam_atan2_agrees_with_a_plain_loop():
    rng = np.random.default_rng(0)
    p = rng.normal(size=5)
    m, v = np.zeros(5), np.zeros(5)
    lr, beta1, beta2, wd = 0.01, 0.9, 0.95, 0.3
    optimizer = adam_atan2(optax.constant_schedule(lr), beta1, beta2, wd)
    params = {"p": jnp.asarray(p, jnp.float32), "frozen": None}
    state = optimizer.init(params)
    for t in range(1, 8):
        g = rng.normal(size=5) * 10.0 ** rng.integers(-6, 3, 5)
        g[0] = 0
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        p = p * (1 - lr * wd) - lr / (1 - beta1**t) * np.arctan2(m, np.sqrt(v) / math.sqrt(1 - beta2**t))
        updates, state = update(optimizer, {"p": jnp.asarray(g, jnp.float32), "frozen": None}, state, params)
        params = eqx.apply_updates(params, updates)
        np.testing.assert_allclose(params["p"], p, rtol=1e-5, atol=1e-6)


def test_first_update_has_the_size_of_the_learning_rate():
    """lr * atan(1 - beta1) / (1 - beta1), whatever the gradient's size."""
    optimizer = adam_atan2(optax.constant_schedule(1e-3), 0.9, 0.95, 0.0)
    params = jnp.zeros(3)
    gradients = jnp.array([1e-8, -1.0, 1e6])
    updates, _ = update(optimizer, gradients, optimizer.init(params), params)
    np.testing.assert_allclose(updates, 1e-3 * math.atan(0.1) / 0.1 * -jnp.sign(gradients), rtol=1e-4)


def test_frozen_weights_stay():
    optimizer = make_optimizer(tiny_config(optimizer={"freeze_weights": True}).optimizer, 10)
    params = jnp.ones(3)
    updates, _ = update(optimizer, jnp.ones(3), optimizer.init(params), params)
    assert not updates.any()


def test_schedule_at_its_corners():
    schedule = warmup_cosine(2.0, warmup_steps=4, total_steps=12, min_ratio=0.1)
    values = [float(schedule(jnp.int32(step))) for step in (0, 1, 4, 8, 12)]
    np.testing.assert_allclose(values, [0.0, 0.5, 2.0, 1.1, 0.2], rtol=1e-6)
    flat = warmup_cosine(1.0, warmup_steps=0, total_steps=5, min_ratio=1.0)
    np.testing.assert_allclose([float(flat(jnp.int32(step))) for step in (1, 3, 5)], 1.0, rtol=1e-6)


def plain_sign_sgd(
    table: np.ndarray, identifiers: np.ndarray, gradients: np.ndarray, lr: float, wd: float
) -> np.ndarray:
    table = table.copy()
    for i in set(identifiers.tolist()):
        table[i] = table[i] * (1 - lr * wd) - lr * np.sign(gradients[identifiers == i].sum(axis=0))
    return table


@pytest.mark.parametrize("rows", [1, 5, 200])
def test_sign_sgd_agrees_with_a_plain_loop(rows: int):
    rng = np.random.default_rng(rows)
    table = rng.normal(size=(rows, 4)).astype(np.float32)
    identifiers = rng.integers(0, rows, 16).astype(np.int32)
    gradients = rng.integers(-2, 3, (16, 4)).astype(np.float32)
    updated = sign_sgd_rows(jnp.asarray(table), jnp.asarray(identifiers), jnp.asarray(gradients), 0.02, 0.7)
    np.testing.assert_allclose(updated, plain_sign_sgd(table, identifiers, gradients, 0.02, 0.7), rtol=1e-6, atol=1e-7)


def test_sign_sgd_touches_the_donated_table_in_place():
    """No temporary of the table's size: the cost of a step does not grow with the rows."""
    rows, batch, size = 100_000, 8, 16

    def update(table: jax.Array, identifiers: jax.Array, gradients: jax.Array) -> jax.Array:
        return sign_sgd_rows(table, identifiers, gradients, 0.01, 0.1)

    arguments = (
        jax.ShapeDtypeStruct((rows, size), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
        jax.ShapeDtypeStruct((batch, size), jnp.float32),
    )
    memory = jax.jit(update, donate_argnums=0).lower(*arguments).compile().memory_analysis()
    assert memory is not None
    assert memory.alias_size_in_bytes == rows * size * 4
    assert memory.temp_size_in_bytes < rows * size * 4 / 100


def test_ema():
    ema = update_ema({"a": jnp.ones(2)}, {"a": jnp.zeros(2)}, 0.9)
    np.testing.assert_allclose(ema["a"], 0.9)
