"""Random starts: as many as asked for, of the right spread, for refilled slots alone, and the same on any devices."""

import dataclasses

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


def test_as_many_as_asked_for_with_the_spread_asked_for():
    starts = draw_starts(KEY, 2000, RULES)
    assert starts is not None
    assert abs(float(starts.random.mean()) - 0.25) < 0.03
    initial = TwoLatents(jnp.ones((2000, 3, 5)), jnp.full((2000, 3, 5), 2.0, jnp.bfloat16))
    z = start_latents(initial, starts)
    assert isinstance(z, TwoLatents)
    random = np.asarray(starts.random)
    for name in ("z_H", "z_L"):
        drawn, before = (np.asarray(getattr(of, name), np.float32) for of in (z, initial))
        np.testing.assert_array_equal(drawn[~random], before[~random])
        assert abs(drawn[random].std() - 2) < 0.1
        assert abs(drawn[random].mean()) < 0.1
    # Each slot and each latent has numbers of its own.
    numbers = np.asarray(z.z_H)[random]
    assert len(np.unique(numbers)) > 0.99 * numbers.size
    assert abs(np.corrcoef(numbers.ravel(), np.asarray(z.z_L, np.float32)[random].ravel())[0, 1]) < 0.05


def test_none_where_none_are_asked_for():
    assert draw_starts(KEY, 8, tiny_config().train) is None


@pytest.mark.parametrize("state", ["cells", "digits"])
def test_only_slots_that_are_refilled_start_anew(state: str):
    config = tiny_config(model={"state": state, "puzzle_emb_ndim": 0, "mixer": "mlp", "positions": "none"})
    model = Reasoner(config.model, 6, 16, key=KEY)
    tokens = jnp.ones((4, 16), jnp.int32)
    batch = Batch(tokens, tokens, jnp.zeros(4, jnp.int32))
    halted = jnp.asarray([True, False, True, False])
    carry = dataclasses.replace(Carry.empty(model, batch), halted=halted)
    starts = draw_starts(KEY, 4, dataclasses.replace(RULES, random_starts=1.0))
    (plain, moved) = (carry.refill(model, batch, starts).latents for starts in (None, starts))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(np.asarray(a != b).any(axis=tuple(range(1, a.ndim))), halted)


@pytest.mark.slow
def test_a_step_is_the_same_on_one_device_and_on_two(splits: dict[str, PuzzleSet]):
    train, carries = splits["train"], []
    config = tiny_config(
        train={"random_starts": 0.5}, model={"mixer": "mlp", "positions": "none"}, halting={"halt_max_steps": 2}
    )
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, random_starts=0.0))
    for rules, devices in ((config, 1), (config, 2), (plain, 2)):
        mesh = make_mesh(devices)
        state = make_state(rules, train.metadata, mesh)
        loader = TrainLoader(train, rules.train.global_batch_size, seed=0)
        state, _ = make_train_step(rules, train.metadata, mesh)(state, place_batch(loader.load(0), mesh))
        carries.append(fetch(state.carry).latents.z_H)
    np.testing.assert_allclose(carries[0], carries[1], rtol=1e-4, atol=1e-5)
    # About half of the slots have another start than without the option; the others have the same one.
    differs = (np.abs(carries[1] - carries[2]) > 1e-3).any(axis=(1, 2))
    assert 0 < differs.sum() < len(differs)
