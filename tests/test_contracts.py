"""Contracts: every registered recursion with every registered optimiser trains, is saved, loaded and solves.

A recursion and an optimiser of a user, defined here, must do the same.
"""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import tiny_config
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.configuration.schema import Config, ModelConfig, OptimizerConfig
from trm.model.layers import truncated_normal
from trm.model.precision import linear
from trm.model.reasoner import Reasoner, trainable
from trm.model.recursions import RECURSIONS, Hidden, MakeNetwork, OneNetwork, TwoLatents, unused_sizes
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader
from trm.puzzles.metadata import Metadata
from trm.solving.options import SolverOptions
from trm.solving.solve import solve
from trm.supervision.batch import place_batch
from trm.training.optim.assemble import make_optimizer
from trm.training.optim.base import OPTIMIZERS, MakeSchedule
from trm.training.state import (
    TrainState,
    abstract_state,
    load_state,
    make_state,
    save_state,
    state_shardings,
    total_steps,
    trained_weights,
)
from trm.training.step import TrainStep, make_train_step


class Mixed(OneNetwork[TwoLatents]):
    """A user's recursion: before the answer is refined, a matrix and a gain of its own act on the reasoning."""

    latents = TwoLatents
    answer_latent = "z_H"
    reasoning_latents = ("z_L",)
    gain: Float[Array, " hidden"]
    mix: Float[Array, "hidden hidden"]

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        key, mix_key = jax.random.split(key)
        super().__init__(config, make_network, key=key)
        self.gain = jnp.ones(config.hidden_size)
        self.mix = truncated_normal(mix_key, (config.hidden_size, config.hidden_size), config.hidden_size**-0.5)

    def h_cycle(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        z_L = self.network(z.z_L + (z.z_H + x))
        mixed = linear(z_L, self.mix, rounded=True)
        return TwoLatents(z_H=self.network(z.z_H + mixed * jnp.broadcast_to(self.gain, mixed.shape)), z_L=z_L)

    @classmethod
    def cycle_passes(cls, config: ModelConfig) -> int:
        return 2


def sign_descent(config: OptimizerConfig, schedule: MakeSchedule) -> optax.GradientTransformation:
    """Step by the sign of the gradient: a user's optimiser."""
    rate = schedule(config.lr)
    return optax.chain(optax.scale_by_sign(), optax.scale_by_schedule(lambda count: -rate(count + 1)))


MIXED, SIGN_DESCENT = f"{__name__}:Mixed", f"{__name__}:sign_descent"
PAIRS = [
    *((recursion, optimizer) for recursion in (*RECURSIONS.names(), MIXED) for optimizer in OPTIMIZERS.names()),
    ("trm", SIGN_DESCENT),
    (MIXED, SIGN_DESCENT),
]


DIGITS = [("trm", "adam_atan2"), *((recursion, "muon") for recursion in RECURSIONS.names())]
"""With a state for each digit."""


def configure(recursion: str, optimizer: str = "adam_atan2", state: str = "cells") -> Config:
    sizes = {"H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 2} | unused_sizes(recursion)
    model: dict[str, Any] = {"recursion": recursion, "mixer": "mlp", "positions": "none", "puzzle_emb_ndim": 0} | sizes
    model["state"] = state
    return tiny_config(model=model, optimizer={"type": optimizer}, halting={"halt_max_steps": 2})


FRESH: dict[tuple[str, str], TrainState] = {}
"""States before the first step, on the host, by recursion and state: made once for all optimisers."""


def start(config: Config, metadata: Metadata, mesh: Mesh) -> TrainState:
    of_model = config.model.recursion, config.model.state
    if of_model not in FRESH:
        adam = dataclasses.replace(config.optimizer, type="adam_atan2")
        FRESH[of_model] = fetch(make_state(dataclasses.replace(config, optimizer=adam), metadata, mesh))
    state = FRESH[of_model]
    params = jax.tree.map(jnp.asarray, eqx.filter(state.model, trainable(state.model)))
    optimizer = make_optimizer(config.optimizer, total_steps(config, metadata)).init(params)
    return place(eqx.tree_at(lambda state: state.optimizer, state, optimizer), config, metadata, mesh)


def place(state: TrainState, config: Config, metadata: Metadata, mesh: Mesh) -> TrainState:
    return jax.device_put(state, state_shardings(abstract_state(config, metadata), mesh))


def assert_equal(found: Any, expected: Any) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


FAST = (
    ("trm", "muon", "digits"),
    ("trm", "adam_atan2", "cells"),
    ("trm", SIGN_DESCENT, "cells"),
    (MIXED, "muon", "cells"),
)
"""Each optimiser, each state, and a recursion of a user's; golden cases hold the others."""


def _fast_or_slow(recursion: str, optimizer: str, model_state: str) -> Any:
    """Return a case, marked as slow if it is."""
    fast = (recursion, optimizer, model_state) in FAST
    marks = [] if fast else [pytest.mark.slow]
    return pytest.param(recursion, optimizer, model_state, marks=marks, id=f"{recursion}-{optimizer}-{model_state}")


@pytest.mark.parametrize(
    ("recursion", "optimizer", "model_state"),
    [_fast_or_slow(*pair, "cells") for pair in PAIRS] + [_fast_or_slow(*pair, "digits") for pair in DIGITS],
)
def test_trains_resumes_and_solves(
    recursion: str, optimizer: str, model_state: str, splits: dict[str, PuzzleSet], tmp_path: Path
):
    config, mesh, train = configure(recursion, optimizer, model_state), make_mesh(2), splits["train"]
    step = make_train_step(config, train.metadata, mesh)
    loader = TrainLoader(train, config.train.global_batch_size, seed=0)
    batches = [place_batch(loader.load(number), mesh) for number in range(2)]

    state = start(config, train.metadata, mesh)
    before = fetch(state)
    state = check_steps(step, state, batches, before)

    # What was saved goes on to the same next step.
    path = tmp_path / "checkpoint.safetensors"
    description = Description("checkpoint", config, train.metadata, 2)
    save_state(path, state, description)
    loaded, description = load_state(path)
    assert description.config == config
    assert_equal(loaded, fetch(state))
    again = check_steps(step, place(loaded, config, train.metadata, mesh), batches[:1])
    expected = check_steps(step, state, batches[:1])
    assert_equal(fetch(again), fetch(expected))

    weights = trained_weights(fetch(expected))
    path = tmp_path / "weights.safetensors"
    save(path, weights, Description("weights", config, train.metadata, 3, averaged=True))
    weights, description = load_weights(path)
    test = splits["test"].metadata
    inputs = np.random.default_rng(0).integers(1, test.vocab_size, (3, test.seq_len), np.int32)
    solutions = solve(
        weights, description.config, mesh, inputs, np.zeros(3, np.int32), SolverOptions(max_steps=2), slots=2
    )
    assert solutions.answers.shape == inputs.shape
    assert solutions.answers.min() >= 0
    assert solutions.answers.max() < test.vocab_size
    assert np.isfinite(solutions.q_halt_logits).all()


def check_steps(step: TrainStep, state: TrainState, batches: list, before: TrainState | None = None) -> TrainState:
    """Train; require finite numbers, and of the weights before that all that are trained have moved."""
    for batch in batches:
        state, metrics = step(jax.tree.map(jnp.copy, state), batch)
        assert all(np.isfinite(metric).all() for metric in metrics.values())
    if before is not None:
        after = fetch(state)
        moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), before.model, after.model)
        assert moved == trainable(after.model)
    return state


def test_muon_takes_what_layers_declare_and_nothing_else():
    """A matrix that a recursion brings itself has AdamW's moments, the networks' matrices have Muon's momentum."""
    model = Reasoner(configure(MIXED).model, 6, 16, key=jax.random.key(0))
    params = eqx.filter(model, trainable(model))
    optimizer = OPTIMIZERS["muon"](configure(MIXED, "muon").optimizer, optax.constant_schedule)  # pyright: ignore
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(optimizer.init(params))}
    of_muon = {name for name in names if ".momentum" in name}
    layers = {f".recursion.network.blocks[0].{layer}" for layer in ("mixer.mlp", "mlp")}
    assert {name.partition(".momentum")[2] for name in of_muon} == {
        f"{layer}.{matrix}" for layer in layers for matrix in ("gate_up", "down")
    }
    of_adamw = {name.partition(".mean")[2] for name in names if ".mean." in name}
    assert {".recursion.gain", ".recursion.mix", ".lm_head"} <= of_adamw


def test_warm_up_cycles_freeze_what_a_recursion_brings_itself():
    """The gradient of a user's own parameters, too, is that of the last H cycle alone."""
    model = Reasoner(configure(MIXED).model, 6, 16, key=jax.random.key(0))
    inputs = jax.random.randint(jax.random.key(1), (2, 16), 0, 6)
    x = model.embed(inputs, jnp.zeros((2, 0)))
    z = model.initial_latents(inputs.shape)
    assert isinstance(z, TwoLatents)

    def ours(recursion: Mixed) -> jax.Array:
        return jnp.sum(jnp.sin(recursion(x, z).z_H))

    def by_hand(recursion: Mixed) -> jax.Array:
        latents = jax.lax.stop_gradient(recursion.h_cycle(x, z))
        return jnp.sum(jnp.sin(recursion.h_cycle(x, latents).z_H))

    assert isinstance(model.recursion, Mixed)
    found, expected = jax.grad(ours)(model.recursion), jax.grad(by_hand)(model.recursion)
    for a, b in ((found.gain, expected.gain), (found.mix, expected.mix)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.any(a)
