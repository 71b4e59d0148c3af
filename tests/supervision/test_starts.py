"""Starts: as many as asked for, with the spread or the errors asked for, for refilled slots alone, the same on any
devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

from trm.model.reasoner import Reasoner
from trm.model.recursions import TwoLatents
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader
from trm.supervision.batch import Batch, place_batch
from trm.supervision.carry import Carry
from trm.supervision.starts import draw_starts, start_latents
from trm.training.state import make_state
from trm.training.step import make_train_step

KEY = jax.random.key(0)
RULES = tiny_config(train={"random_starts": 0.25, "random_start_std": 2.0}).train


def small_model(state: str = "cells", **section: Any) -> Reasoner:
    """A model of 16 cells and 6 tokens."""
    section = {"state": state, "puzzle_emb_ndim": 0, "mixer": "mlp", "positions": "none"} | section
    return Reasoner(tiny_config(model=section).model, 6, 16, key=KEY)


def random_batch(size: int) -> Batch:
    """Puzzles of which each answer has four different tokens, four times each."""
    answers = jnp.stack([jax.random.permutation(key, jnp.arange(16) % 4 + 2) for key in jax.random.split(KEY, size)])
    return Batch(jnp.ones((size, 16), jnp.int32), answers, jnp.zeros(size, jnp.int32))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_many_as_asked_for_with_the_spread_asked_for(dtype: str):
    starts, model, batch = draw_starts(KEY, 2000, RULES), small_model(forward_dtype=dtype), random_batch(2000)
    assert starts is not None
    assert not starts.anchored.any()
    assert abs(float(starts.random.mean()) - 0.25) < 0.03
    initial, z = (start_latents(model, batch, each) for each in (None, starts))
    assert isinstance(initial, TwoLatents)
    assert isinstance(z, TwoLatents)
    random = np.asarray(starts.random)
    for name in ("z_H", "z_L"):
        drawn, before = (np.asarray(getattr(of, name), np.float32) for of in (z, initial))
        np.testing.assert_array_equal(drawn[~random], before[~random])
        assert abs(drawn[random].std() - 2) < 0.1
        assert abs(drawn[random].mean()) < 0.1
    # Each slot and each latent has numbers of its own.
    z_H, z_L = (np.asarray(latent, np.float32)[random] for latent in (z.z_H, z.z_L))
    assert len(np.unique(z_H, axis=0)) == len(z_H)
    assert abs(np.corrcoef(z_H.ravel(), z_L.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("state", ["cells", "digits"])
def test_anchors_are_embedded_answers_with_as_many_errors_as_asked_for(state: str):
    rules = dataclasses.replace(RULES, anchors=0.5, anchor_errors=0.2)
    starts, model, batch = draw_starts(KEY, 1000, rules), small_model(state), random_batch(1000)
    assert starts is not None
    anchored = np.asarray(starts.anchored)
    assert abs(float(anchored.mean()) - 0.5) < 0.05
    assert not (anchored & np.asarray(starts.random)).any()
    alone = draw_starts(KEY, 1000, RULES)
    assert alone is not None
    np.testing.assert_array_equal(starts.random, alone.random)
    plain, z = (start_latents(model, batch, each) for each in (alone, starts))
    assert isinstance(plain, TwoLatents)
    assert isinstance(z, TwoLatents)
    np.testing.assert_array_equal(z.z_L, plain.z_L)
    np.testing.assert_array_equal(z.z_H[~anchored], plain.z_H[~anchored])
    # The token of each cell is read off by comparing with what each token embeds to at that cell.
    rows = jnp.zeros((6, 0))
    by_token = model.embed(jnp.broadcast_to(jnp.arange(6)[:, None], (6, 16)), rows)
    tokens = np.full((int(anchored.sum()), 16), -1)
    axes = (1, 3) if state == "digits" else (2,)
    for token in range(6):
        tokens[np.asarray((z.z_H[anchored] == by_token[token][None]).all(axis=axes))] = token
    answers = np.asarray(batch.labels)[anchored]
    assert set(np.unique(tokens)) == {2, 3, 4, 5}
    # A quarter of the replaced cells take the token that they had.
    assert abs(float((tokens != answers).mean()) - 0.2 * 0.75) < 0.02


def test_an_answer_without_errors_and_without_labels():
    rules = dataclasses.replace(RULES, random_starts=0.0, anchors=1.0, anchor_errors=0.0)
    starts, model, batch = draw_starts(KEY, 4, rules), small_model(), random_batch(4)
    labels = batch.labels.at[:, :3].set(-100)
    z = start_latents(model, dataclasses.replace(batch, labels=labels), starts)
    assert isinstance(z, TwoLatents)
    np.testing.assert_array_equal(z.z_H, model.embed(jnp.maximum(labels, 0), jnp.zeros((4, 0))))


def test_the_prefix_of_an_anchor_starts_as_ever():
    model = small_model(register=True)
    starts = draw_starts(KEY, 8, dataclasses.replace(RULES, random_starts=0.0, anchors=1.0))
    initial, z = (start_latents(model, random_batch(8), each) for each in (None, starts))
    assert isinstance(initial, TwoLatents)
    assert isinstance(z, TwoLatents)
    np.testing.assert_array_equal(z.z_H[:, 0], initial.z_H[:, 0])
    assert (z.z_H[:, 1:] != initial.z_H[:, 1:]).any(axis=-1).all()


def test_none_where_none_are_asked_for():
    assert draw_starts(KEY, 8, tiny_config().train) is None


@pytest.mark.parametrize("state", ["cells", "digits"])
def test_only_slots_that_are_refilled_start_anew(state: str):
    model, batch = small_model(state), random_batch(4)
    halted = jnp.asarray([True, False, True, False])
    carry = dataclasses.replace(Carry.empty(model, batch), halted=halted)
    starts = draw_starts(KEY, 4, dataclasses.replace(RULES, random_starts=1.0))
    (plain, moved) = (carry.refill(model, batch, starts).latents for starts in (None, starts))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(np.asarray(a != b).any(axis=tuple(range(1, a.ndim))), halted)


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)], ids=["both", "random starts", "anchors"])
def test_a_step_is_the_same_on_one_device_and_on_two(splits: dict[str, PuzzleSet], shares: tuple[float, float]):
    train, carries = splits["train"], []
    config = tiny_config(
        train={"random_starts": shares[0], "anchors": shares[1]},
        model={"mixer": "mlp", "positions": "none"},
        halting={"halt_max_steps": 2},
    )
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, random_starts=0.0, anchors=0.0))
    for rules, devices in ((config, 1), (config, 2), (plain, 2)):
        mesh = make_mesh(devices)
        state = make_state(rules, train.metadata, mesh)
        loader = TrainLoader(train, rules.train.global_batch_size, seed=0)
        state, _ = make_train_step(rules, train.metadata, mesh)(state, place_batch(loader.load(0), mesh))
        carries.append(fetch(state.carry).latents.z_H)
    np.testing.assert_allclose(carries[0], carries[1], rtol=1e-4, atol=1e-5)
    # Every slot has another start than without the options.
    assert (np.abs(carries[1] - carries[2]) > 1e-3).any(axis=(1, 2)).all()
