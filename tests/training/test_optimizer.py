"""Optimisers against plain NumPy, one number at a time."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import tiny_config
from jaxtyping import PyTree

from trm.model.layers import Attention, SwiGLU
from trm.model.reasoner import Reasoner, trainable
from trm.training.optim.adam import adam_atan2
from trm.training.optim.assemble import make_optimizer
from trm.training.optim.ema import update_ema
from trm.training.optim.muon import muon
from trm.training.optim.schedule import warmup_cosine
from trm.training.optim.sign_sgd import sign_sgd_rows


def update(
    optimizer: optax.GradientTransformation, gradients: PyTree, state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    """Make one update; what Optax says of its trees leaves out that they can hold None."""
    return optimizer.update(gradients, state, params)


def start(optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    """Make the state before the first update."""
    return optimizer.init(params)


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


def plain_muon(p: np.ndarray, m: np.ndarray, g: np.ndarray, outputs: int, inputs: int) -> tuple:
    """Make one update of Muon, the polynomial applied to the singular values."""
    m = 0.6 * m + 0.4 * g
    u, s, v = np.linalg.svd(0.6 * m + 0.4 * g, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(3):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return p * (1 - 0.02 * 0.005) - 0.02 * math.sqrt(max(1, outputs / inputs)) * (u * s) @ v, m


def small_layers() -> dict[str, SwiGLU | Attention]:
    swiglu_key, attention_key = jax.random.split(jax.random.key(0))
    return {
        "swiglu": SwiGLU(6, 1.0, key=swiglu_key),
        "attention": Attention(6, 2, 2, None, key=attention_key),
    }


def test_muon_agrees_with_plain_singular_values():
    rng = np.random.default_rng(0)
    layers = small_layers()
    # (outputs, inputs) of each matrix as it stands in the layer: `down` and `out` are as wide as they are high or less.
    shapes = {"swiglu": {"gate_up": (512, 6), "down": (6, 256)}, "attention": {"qkv": (12, 6), "out": (6, 4)}}
    optimizer = muon(optax.constant_schedule(0.02), momentum=0.6, weight_decay=0.005)
    state = start(optimizer, layers)
    plain = {path: np.asarray(leaf, np.float64) for path, leaf in jax.tree.leaves_with_path(layers)}
    momentum = {path: np.zeros_like(p) for path, p in plain.items()}
    for _ in range(3):
        gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) * 1e-3, jnp.float32), layers)
        updates, state = update(optimizer, gradients, state, layers)
        layers = eqx.apply_updates(layers, updates)
        found = dict(jax.tree.leaves_with_path(layers))
        for path, g in jax.tree.leaves_with_path(gradients):
            shape = shapes[path[0].key][path[1].name]
            plain[path], momentum[path] = plain_muon(plain[path], momentum[path], np.asarray(g, np.float64), *shape)
            np.testing.assert_allclose(found[path], plain[path], rtol=0, atol=2e-6, err_msg=str(path))


def test_muon_of_no_gradient_is_no_update_but_decay():
    layers = small_layers()
    optimizer = muon(optax.constant_schedule(0.02), momentum=0.6, weight_decay=0.005)
    updates, _ = update(optimizer, jax.tree.map(jnp.zeros_like, layers), start(optimizer, layers), layers)
    for u, p in zip(jax.tree.leaves(updates), jax.tree.leaves(layers), strict=True):
        np.testing.assert_allclose(u, -0.02 * 0.005 * p, rtol=1e-5)


def test_muon_moves_the_matrices_and_adamw_the_rest():
    config = tiny_config(
        model={"register": True, "puzzle_emb_ndim": 0},
        optimizer={"type": "muon", "lr": 0.1, "lr_warmup_steps": 0, "lr_min_ratio": 0.0, "weight_decay": 0.5},
    )
    model = Reasoner(config.model, 6, 16, key=jax.random.key(0))
    params = eqx.filter(model, trainable(model))
    optimizer = make_optimizer(config.optimizer, total_steps=4)
    state = optimizer.init(params)
    p, m, v = np.asarray(model.lm_head, np.float64), 0.0, 0.0
    rng = np.random.default_rng(0)
    for t in range(1, 5):
        gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        updates, state = update(optimizer, gradients, state, params)
        params = eqx.apply_updates(params, updates)
        # AdamW (arXiv 1711.05101) at the learning rate of step t.
        lr = 0.1 * 0.5 * (1 + math.cos(math.pi * t / 4))
        g = np.asarray(gradients.lm_head, np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        p = p - lr * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8) + 0.5 * p)
        np.testing.assert_allclose(params.lm_head, p, rtol=0, atol=1e-5)
        # No matrix of the networks moves by more than what Muon allows.
        rate = 0.02 * lr / 0.1
        for update_of, weight in zip(
            jax.tree.leaves(updates.recursion), jax.tree.leaves(params.recursion), strict=True
        ):
            longest = max(weight.shape) / min(weight.shape)
            assert np.linalg.norm(update_of, 2) <= rate * (1.21 * longest**0.5 + 0.01 * np.linalg.norm(weight, 2))
        if t == 4:
            assert not any(leaf.any() for leaf in jax.tree.leaves(updates))
    assert (np.asarray(params.register) != np.asarray(model.register)).all()


def test_long_gradients_are_scaled_down():
    """By the norm over all weights together; short ones pass as they are."""
    config = tiny_config(optimizer={"max_gradient_norm": 1.0, "lr_warmup_steps": 0}).optimizer
    plain = make_optimizer(dataclasses.replace(config, max_gradient_norm=0.0), 10)
    clipped = make_optimizer(config, 10)
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    long, short = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([0.0, 4.0])}, {"a": jnp.ones(2) / 4, "b": jnp.zeros(2)}
    plain_state, clipped_state = plain.init(params), clipped.init(params)
    for gradients, length in ((long, 5.0), (short, 1.0)):
        found, clipped_state = update(clipped, gradients, clipped_state, params)
        scaled = jax.tree.map(lambda g, length=length: g / length, gradients)
        expected, plain_state = update(plain, scaled, plain_state, params)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_schedule_at_its_corners():
    schedule = warmup_cosine(2.0, warmup_steps=4, total_steps=12, min_ratio=0.1)
    values = [float(schedule(jnp.int32(step))) for step in (0, 1, 4, 8, 12)]
    np.testing.assert_allclose(values, [0.0, 0.5, 2.0, 1.1, 0.2], rtol=1e-6)
    to_zero = warmup_cosine(2.0, warmup_steps=0, total_steps=4, min_ratio=0.0)
    values = [float(to_zero(jnp.int32(step))) for step in (0, 1, 2, 4)]
    np.testing.assert_allclose(values, [2.0, 1 + math.sqrt(0.5), 1.0, 0.0], rtol=1e-6, atol=1e-7)
    flat = warmup_cosine(1.0, warmup_steps=0, total_steps=5, min_ratio=1.0)
    np.testing.assert_allclose([float(flat(jnp.int32(step))) for step in (1, 3, 5)], 1.0, rtol=1e-6)


@pytest.mark.parametrize("min_ratio", [0.0, 0.1, 1.0])
def test_the_rate_stays_after_the_last_step(min_ratio: float):
    """A cosine alone would rise again: to 0.55 of the peak at one and a half times the steps, for a ratio of 0.1."""
    schedule = warmup_cosine(2.0, warmup_steps=4, total_steps=12, min_ratio=min_ratio)
    values = [float(schedule(jnp.int32(step))) for step in (12, 13, 16, 20, 1000)]
    np.testing.assert_allclose(values, 2.0 * min_ratio, rtol=1e-6, atol=1e-7)


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
