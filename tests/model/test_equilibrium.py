"""The damped and noisy passes of Equilibrium Reasoners, against loops written out and against TRM."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_mistake, tiny_config

from trm.model.blocks import Network
from trm.model.reasoner import Reasoner
from trm.model.recursions import Latents, TwoLatents
from trm.model.recursions.equilibrium import Equilibrium, PathNoise
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader
from trm.supervision.batch import place_batch
from trm.training.state import make_state
from trm.training.step import make_train_step

KEY = jax.random.key(0)
CYCLES = {"H_cycles": 2, "L_cycles": 3, "puzzle_emb_ndim": 0, "mixer": "mlp", "positions": "none"}
TOKENS = jnp.arange(32).reshape(2, 16) % 6


def model_of(recursion: str, damping: float = 0.0, **section: object) -> Reasoner:
    config = tiny_config(model=CYCLES | {"recursion": recursion, "damping": damping} | section)
    return Reasoner(config.model, 6, 16, key=KEY)


def network_of(model: Reasoner) -> Network:
    assert isinstance(model.recursion, Equilibrium)
    return model.recursion.network


def steps_of(model: Reasoner, keys: jax.Array | None = None, std: float = 0.1) -> tuple[jax.Array, TwoLatents]:
    """Run a supervision step from the initial latents; return the embedded puzzles and the new latents."""
    x = model.embed(TOKENS, jnp.zeros((2, 0)))
    recursion = model.recursion
    if keys is not None:
        assert isinstance(recursion, Equilibrium)
        recursion = recursion.with_noise(PathNoise(jax.random.key_data(keys), std))
    return x, eqx.filter_jit(recursion)(x, model.initial_latents(TOKENS.shape))


@pytest.mark.parametrize(
    "section",
    [
        {},
        pytest.param({"state": "digits"}, marks=pytest.mark.slow),
        pytest.param({"unroll": True, "differentiated_cycles": 2}, marks=pytest.mark.slow),
    ],
)
def test_without_damping_and_noise_it_is_trm_to_the_bit(section: dict):
    def loss(model: Reasoner, z: Latents) -> jax.Array:
        return model(TOKENS, jnp.zeros((2, 0)), z)[1].logits.astype(jnp.float32).var()

    found = []
    for name in ("trm", "equilibrium"):
        model = model_of(name, **section)
        z = model.initial_latents(TOKENS.shape)
        found.append(jax.tree.leaves((steps_of(model)[1], eqx.filter_jit(eqx.filter_grad(loss))(model, z))))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_damping_keeps_a_share_of_each_latent():
    model = model_of("equilibrium", 0.25)
    x, found = steps_of(model)
    network = network_of(model)
    z = model.initial_latents(TOKENS.shape)
    assert isinstance(z, TwoLatents)
    z_H, z_L = z.z_H, z.z_L
    for _ in range(2):
        for _ in range(3):
            z_L = 0.25 * z_L + 0.75 * network(z_L + z_H + x)
        z_H = 0.25 * z_H + 0.75 * network(z_H + z_L)
    np.testing.assert_allclose(found.z_H, z_H, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.z_L, z_L, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("state", ["cells", "digits"])
def test_noise_follows_each_pass_and_depends_on_the_key_of_its_sequence_alone(state: str):
    model = model_of("equilibrium", state=state, H_cycles=1, L_cycles=1)
    keys = jax.random.split(KEY, 2)
    x, found = steps_of(model, keys, 0.5)
    network, z = network_of(model), model.initial_latents(TOKENS.shape)
    assert isinstance(z, TwoLatents)
    # What is left when the pass is taken away is the noise.
    first = np.asarray(found.z_L - network(z.z_L + (z.z_H + x)))
    second = np.asarray(found.z_H - network(z.z_H + found.z_L))
    for noise in (first, second):
        error = 0.5 / noise.size**0.5
        assert abs(noise.std() - 0.5) < 4 * error
        assert abs(noise.mean()) < 4 * error
    for a, b in ((first, second), (first[:1], first[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / a.size**0.5
    _, other = steps_of(model, keys.at[1].set(jax.random.key(7)), 0.5)
    np.testing.assert_array_equal(other.z_L[0], found.z_L[0])
    assert (other.z_L[1] != found.z_L[1]).any()
    _, silent = steps_of(model, keys, 0.0)
    _, plain = steps_of(model)
    np.testing.assert_array_equal(silent.z_H, plain.z_H)


@pytest.mark.slow
def test_training_with_noise_in_pieces_and_without(splits: dict[str, PuzzleSet]):
    """The noise reaches the loss, and cutting the batch does not change it."""
    train, found = splits["train"], []
    config = tiny_config(model=CYCLES | {"recursion": "equilibrium"}, train={"path_noise": 0.3})
    for path_noise, pieces in ((0.3, 1), (0.3, 2), (0.0, 1)):
        rules = dataclasses.replace(
            config, train=dataclasses.replace(config.train, path_noise=path_noise, microbatches=pieces)
        )
        mesh = make_mesh(1)
        loader = TrainLoader(train, rules.train.global_batch_size, seed=0)
        state = make_state(rules, train.metadata, mesh)
        state, metrics = make_train_step(rules, train.metadata, mesh)(state, place_batch(loader.load(0), mesh))
        assert isinstance(state.model.recursion, Equilibrium)
        assert state.model.recursion.noise is None
        found.append((fetch(state.carry).latents.z_H, float(metrics["lm_loss"])))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
    assert np.abs(found[0][0] - found[2][0]).mean() > 0.05


def test_the_baseline_takes_neither(tmp_path: Path, puzzle_dir: Path, capsys: pytest.CaptureFixture):
    arguments = ["train", "quickstart", "--set", f"data.path={puzzle_dir}", "-o", str(tmp_path / "run")]
    check_mistake(
        capsys, [*arguments, "--set", "model.damping=0.1"], "model.damping: found 0.1, expected 0.0: recursion"
    )
    check_mistake(
        capsys,
        [*arguments, "--set", "train.path_noise=0.1"],
        "train.path_noise: found 0.1 with model.recursion 'trm', expected 0, or recursion 'equilibrium'",
    )
