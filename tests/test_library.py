"""What `import trm` offers: supervision steps as pure functions."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

import trm
from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.configuration.schema import Config
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.supervision.batch import Batch
from trm.supervision.carry import Carry
from trm.supervision.step import supervision_step
from trm.training.state import make_state

METADATA = metadata_of(20, 4)
HRM = {"recursion": "hrm", "H_layers": 1, "puzzle_emb_len": 0}


def write_weights(path: Path, config: Config) -> None:
    state = fetch(make_state(config, METADATA, make_mesh(1)))
    save(path, trm.Weights(state.model, state.puzzle_table), Description("weights", config, METADATA, 3, averaged=True))


@pytest.fixture(params=[{}, HRM], ids=["trm", "hrm"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> trm.Weights:
    write_weights(tmp_path / "weights.safetensors", tiny_config(model=request.param))
    return trm.load_weights(tmp_path / "weights.safetensors")[0]


@pytest.fixture
def inputs() -> jax.Array:
    return jax.random.randint(jax.random.key(0), (3, 16), 1, 6)


def test_steps_are_those_of_training(weights: trm.Weights, inputs: jax.Array):
    """All at once, one after the other, and as the training loop takes them."""
    reason = jax.jit(trm.reason, static_argnames="steps")
    reasoning = reason(weights, inputs, steps=4)
    assert reasoning.outputs.logits.shape == (4, 3, 16, 6)
    assert reasoning.outputs.q_halt_logits.shape == (4, 3)
    z, ids = None, jnp.zeros(3, jnp.int32)
    model, table = jax.tree.map(jnp.asarray, (weights.model, weights.puzzle_table))
    batch = Batch(inputs, inputs, ids)
    step_of_training = jax.jit(lambda m, rows, carry: supervision_step(m, rows, carry, tiny_config(), None))
    carry = Carry.empty(model, batch).refill(model, batch)
    for number in range(4):
        alone = reason(weights, inputs, ids, steps=1, latents=z)
        z = jax.tree.map(lambda leaf: leaf[-1], alone.latents)
        _, (carry, outputs, _) = step_of_training(model, table[ids], carry)
        for found in (alone.outputs.logits[0], outputs.logits):
            np.testing.assert_allclose(reasoning.outputs.logits[number], found, rtol=1e-5, atol=1e-5)
        for a, b in zip(jax.tree.leaves(z), jax.tree.leaves(carry.latents), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_mapped_compiled_and_differentiated(weights: trm.Weights, inputs: jax.Array):
    together = jax.jit(lambda w, i: trm.reason(w, i, steps=2))(weights, inputs)
    mapped = jax.jit(jax.vmap(lambda i: trm.reason(weights, i, steps=2), out_axes=1))(inputs)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(mapped), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    def loss(weights: trm.Weights) -> jax.Array:
        return jnp.mean(jnp.square(trm.reason(weights, inputs, steps=2).outputs.logits))

    gradient = jax.jit(jax.grad(loss))(weights)
    assert gradient.model.lm_head.any()
    assert jnp.isfinite(gradient.model.embed_tokens).all()


def test_what_is_offered_is_there():
    for name in trm.__all__:
        assert getattr(trm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        trm.__getattr__("nothing")


def test_tokens_and_identifiers_out_of_range(weights: trm.Weights, inputs: jax.Array):
    """JAX would answer for the nearest token; the first offender and its place are named instead."""
    for place, found in (((1, 7), 500), ((0, 15), -1)):
        wrong = inputs.at[place].set(found).at[2, 0].set(99)
        with pytest.raises(trm.InputError, match=rf"inputs\[{place[0]}, {place[1]}\]: found {found}, expected 0 to 5"):
            trm.reason(weights, wrong, steps=1)
    with pytest.raises(trm.InputError, match=r"puzzle_identifiers\[2\]: found 1, expected 0 to 0"):
        trm.reason(weights, inputs, jnp.array([0, 0, 1]), steps=1)
    # Inside a compiled function the numbers are not known.
    jax.jit(trm.reason, static_argnames="steps").lower(weights, inputs + 500, steps=1)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("trm.load('sudoku-6x6').solve('.' * 36)", ["optax", "trm.training", "trm.evaluation"]),
        ("trm.evaluate", ["trm.training"]),
        ("trm.__version__", ["jax", "numpy"]),
    ],
)
def test_nothing_is_imported_in_vain(code: str, unwanted: list[str]):
    code = f"""
import sys, trm
{code}
assert not [name for name in sys.modules if (name + ".").startswith({tuple(f"{name}." for name in unwanted)})]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_building_puzzles_does_not_wait_for_jax():
    code = "import sys, trm.puzzles.kinds.maze.generate, trm.puzzles.kinds.arc.build; assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
