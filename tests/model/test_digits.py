"""The state "digits": a relabelling permutes everything, and the network is that of the cells for each digit."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from jax.test_util import check_grads

from trm.checkpoints.tree import name_leaves
from trm.configuration.schema import LossConfig, ModelConfig
from trm.errors import InputError
from trm.model.attention import rotary_tables, rotate_on_grid
from trm.model.digits import IMPOSSIBLE, Coupling, mean_of_others, roles_of
from trm.model.layers import swiglu_width
from trm.model.reasoner import Outputs, Reasoner, count_parameters, reconfigure
from trm.model.recursions import RECURSIONS, unused_sizes
from trm.model.weights import abstract_weights
from trm.original.settings import settings_from_config
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.metadata import Metadata
from trm.puzzles.writing import write_puzzle_set
from trm.supervision.loss import loss_and_metrics
from trm.training.sets import open_sets
from trm.training.state import abstract_state

KEY = jax.random.key(0)
BATCH = 2
NO_PREFIX: dict[str, Any] = {"state": "digits", "puzzle_emb_ndim": 0, "inner_multiple": 8}
MLP = NO_PREFIX | {"mixer": "mlp", "positions": "none"}
ATTENTION = NO_PREFIX | {"mixer": "attention", "positions": "rope_grid"}
MODELS = {
    "mlp": MLP,
    "two layers, learned positions, normed gate": MLP | {"positions": "learned", "gate": "norm", "L_layers": 2},
    "attention": ATTENTION,
    "attention, all cycles": ATTENTION | {"differentiated_cycles": 2, "unroll": True, "remat": True},
} | {
    recursion: MLP
    | {"recursion": recursion, "H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 2}
    | unused_sizes(recursion)
    for recursion in RECURSIONS.names()
}

OTHERS = [name for name in RECURSIONS.names() if name != "trm"]
CASES = [
    pytest.param(model, id=name, marks=[pytest.mark.slow] if name in OTHERS else []) for name, model in MODELS.items()
]


def config_of(**model: Any) -> ModelConfig:
    return tiny_config(model=NO_PREFIX | model).model


def make_model(side: int, **model: Any) -> Reasoner:
    return Reasoner(config_of(**model), side + 2, side**2, key=KEY)


def make_inputs(model: Reasoner, side: int) -> tuple[jax.Array, Any]:
    tokens = jax.random.randint(KEY, (BATCH, side**2), 0, side + 2)
    leaves, structure = jax.tree.flatten(model.initial_latents(tokens.shape))
    drawn = [jax.random.normal(jax.random.fold_in(KEY, i), leaf.shape) for i, leaf in enumerate(leaves)]
    return tokens, jax.tree.unflatten(structure, drawn)


def run(model: Reasoner, tokens: jax.Array, z: Any) -> Any:
    return model(tokens, jnp.zeros((*tokens.shape[:-1], 0)), z)


def relabelling(side: int) -> np.ndarray:
    """Return a permutation of the tokens that is not its own inverse and moves every digit."""
    return np.concatenate([[0, 1], np.roll(np.arange(2, side + 2), 1)])


@pytest.mark.parametrize("side", [4, pytest.param(6, marks=pytest.mark.slow), 9, 16])
def test_shapes(side: int):
    model = make_model(side, **MLP)
    tokens, z = make_inputs(model, side)
    z, outputs = run(model, tokens, z)
    assert z.z_H.shape == z.z_L.shape == (BATCH, side, side**2, 16)
    assert outputs.logits.shape == (BATCH, side**2, side + 2)
    assert outputs.q_halt_logits.shape == outputs.q_continue_logits.shape == (BATCH,)
    assert model.vocab_size == side + 2
    # Padding and blanks are no answer.
    np.testing.assert_array_equal(outputs.logits[..., :2], np.float32(IMPOSSIBLE))
    assert outputs.predictions.min() >= 2


ON_9X9 = [pytest.param(model, 9, id=f"9x9, {name}", marks=pytest.mark.slow) for name, model in list(MODELS.items())[:3]]


@pytest.mark.parametrize(
    ("model", "side"), [*(pytest.param(*c.values, 4, id=c.id, marks=c.marks) for c in CASES), *ON_9X9]
)
def test_a_relabelling_permutes_latents_and_logits(model: dict[str, Any], side: int):
    network = make_model(side, **model)
    tokens, z = make_inputs(network, side)
    new = relabelling(side)
    # The state of digit d goes to the place of the digit that d becomes.
    moved = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[:, new[2:] - 2].set(leaf), z)
    network = with_halting_weights(network)
    (plain_z, plain), (moved_z, relabelled) = run(network, tokens, z), run(network, jnp.asarray(new)[tokens], moved)
    largest = float(jnp.abs(plain.logits[..., 2:]).max())
    assert largest > 0.1
    np.testing.assert_allclose(relabelled.logits[..., new], plain.logits, rtol=0, atol=1e-4 * largest)
    np.testing.assert_allclose(relabelled.q_halt_logits, plain.q_halt_logits, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(moved_z), jax.tree.leaves(plain_z), strict=True):
        np.testing.assert_allclose(a[:, new[2:] - 2], b, rtol=0, atol=2e-4)
        assert not np.allclose(a, b, atol=0.1)


def with_halting_weights(model: Reasoner) -> Reasoner:
    """Give the halting head weights: it starts with none, and would read nothing."""
    weight = jax.random.normal(KEY, model.q_head.weight.shape)
    leaves = [weight if leaf is model.q_head.weight else leaf for leaf in jax.tree.leaves(model)]
    return jax.tree.unflatten(jax.tree.structure(model), leaves)


@pytest.mark.slow
def test_two_digits_change_places_to_the_bit():
    """Of two numbers the sum is the same in either order: nothing but that order could tell two digits apart."""
    model = Reasoner(config_of(**MLP), 4, 4, key=KEY)
    tokens = jnp.asarray([[2, 1, 1, 3], [1, 2, 0, 2]])
    z = model.initial_latents(tokens.shape)
    (plain_z, plain), (swapped_z, swapped) = (run(model, t, z) for t in (tokens, jnp.asarray([0, 1, 3, 2])[tokens]))
    np.testing.assert_array_equal(swapped.logits[..., np.array([0, 1, 3, 2])], plain.logits)
    np.testing.assert_array_equal(swapped_z.z_H[:, ::-1], plain_z.z_H)
    assert not np.array_equal(swapped_z.z_H, plain_z.z_H)


def test_an_answer_for_every_digit_from_weights_of_none():
    """The number of weights does not depend on the number of digits, with attention not on that of cells either."""
    cells = [Reasoner(config_of(**MLP), vocab_size, 16, key=KEY) for vocab_size in (4, 6, 18)]
    for a, b in itertools.pairwise(cells):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_roles():
    tokens = jnp.asarray([0, 1, 2, 4])
    np.testing.assert_array_equal(roles_of(tokens, 3), [[0, 0, 1, 2], [0, 0, 2, 2], [0, 0, 2, 1]])
    np.testing.assert_array_equal(roles_of(jnp.stack([tokens] * 2), 3)[1], roles_of(tokens, 3))


def test_the_embedding_is_that_of_the_role():
    model = make_model(4, **MLP)
    tokens, _ = make_inputs(model, 4)
    assert model.embed_tokens.shape == (3, 16)
    x = model.embed(tokens, jnp.zeros((BATCH, 0)))
    np.testing.assert_allclose(x, np.asarray(model.embed_tokens)[np.asarray(roles_of(tokens, 4))] * 4, rtol=1e-6)


def test_coupling_by_hand():
    h = jax.random.normal(KEY, (2, 4, 5, 3))
    coupling = Coupling(3, key=KEY)
    others = np.stack([np.mean(np.delete(np.asarray(h), digit, axis=1), axis=1) for digit in range(4)], axis=1)
    np.testing.assert_allclose(mean_of_others(h), others, rtol=1e-4, atol=1e-6)
    summed = np.asarray(h) + others @ np.asarray(coupling.read)
    expected = summed / np.sqrt(np.mean(summed**2, axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(coupling(h, 1e-5), expected, rtol=1e-4, atol=1e-5)


def test_a_block_is_that_of_the_cells_for_each_digit():
    """Without the coupling, each digit's state is mixed as if it were a sequence of its own."""
    block = make_model(4, **MLP).recursion.network.blocks[0]  # pyright: ignore[reportAttributeAccessIssue]
    block = dataclasses.replace(block, coupling=None)
    h = jax.random.normal(KEY, (2, 4, 16, 16))
    expected = np.stack([[block(one) for one in of_puzzle] for of_puzzle in h])
    np.testing.assert_allclose(block(h), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("plain", [False, True])
def test_gradient_of_the_coupling(plain: bool):
    coupling = Coupling(3, plain, key=KEY)
    h = jax.random.normal(KEY, (2, 3, 2, 3)) * 0.5

    # Compiled, because the check perturbs with NumPy arrays, and our shape checks want JAX's.
    @jax.jit
    def value(h: jax.Array, read: jax.Array) -> jax.Array:
        return jax.tree.unflatten(jax.tree.structure(coupling), [read])(h, 1e-2)

    modes = ("fwd", "rev") if plain else ("rev",)
    check_grads(value, (h, coupling.read), order=1, modes=modes, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("model", [MLP, pytest.param(ATTENTION, marks=pytest.mark.slow)], ids=["mlp", "attention"])
def test_every_weight_learns_and_the_gradient_is_that_of_plain_derivatives(model: dict[str, Any]):
    network = with_halting_weights(make_model(4, **model))
    plain = reconfigure(network, config_of(**model, plain_derivatives=True))
    tokens, z = make_inputs(network, 4)
    labels = jax.random.randint(jax.random.fold_in(KEY, 7), tokens.shape, 2, 6)

    def loss(network: Reasoner) -> jax.Array:
        outputs = run(network, tokens, z)[1]
        steps, halted = jnp.ones(BATCH, jnp.int32), jnp.ones(BATCH, bool)
        return loss_and_metrics(outputs, labels, steps, halted, None, LossConfig(label_smoothing=0.1))[0]

    (value, found), (plain_value, expected) = (jax.value_and_grad(loss)(network) for network in (network, plain))
    assert float(value) == float(plain_value)
    assert float(value) < 100
    for (name, a), (_, b) in zip(name_leaves(found).items(), name_leaves(expected).items(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()), err_msg=name)
        assert np.any(a) != (".initial." in name or name.endswith("q_head.bias")) or name.endswith("bias"), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss_type", ["stablemax_cross_entropy", "softmax_cross_entropy"])
def test_impossible_tokens_take_no_share_of_the_answer(loss_type: Any, dtype: str):
    """The loss is that of the digits alone, smoothed over the digits alone."""
    scores = jax.random.normal(KEY, (1, 4, 3)).astype(dtype)
    padded = jnp.pad(scores, [(0, 0), (0, 0), (2, 0)], constant_values=IMPOSSIBLE)
    labels = jnp.asarray([[0, 1, 2, 1]])
    rules = LossConfig(loss_type, label_smoothing=0.2)
    zeros, steps = jnp.zeros(1), jnp.ones(1, jnp.int32)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return loss_and_metrics(_outputs(logits, zeros), labels, steps, steps > 0, None, rules)[0]

    np.testing.assert_allclose(loss(padded, labels + 2), loss(scores, labels), rtol=1e-6)
    found = jax.grad(
        lambda scores: loss(jnp.pad(scores, [(0, 0), (0, 0), (2, 0)], constant_values=IMPOSSIBLE), labels + 2)
    )
    np.testing.assert_allclose(
        found(scores), jax.grad(lambda scores: loss(scores, labels))(scores), rtol=1e-5, atol=1e-7
    )


def _outputs(logits: jax.Array, q: jax.Array) -> Any:
    return Outputs(logits, q, q)


def test_rotation_on_a_grid_by_hand():
    """A product of a query and a key depends on how far apart their rows and columns are, and on nothing else."""
    x = jax.random.normal(KEY, (9, 1, 8))
    turned = np.asarray(rotate_on_grid(x, 10.0))
    cosines, sines = rotary_tables(3, 4, 10.0)
    for cell in range(9):
        for part, place in enumerate(divmod(cell, 3)):
            a = np.asarray(x)[cell, 0, 4 * part : 4 * part + 4]
            expected = a * cosines[place] + np.array([-a[2], -a[3], a[0], a[1]]) * sines[place]
            np.testing.assert_allclose(turned[cell, 0, 4 * part : 4 * part + 4], expected, rtol=1e-5, atol=1e-6)


def test_parameters_of_the_published_network():
    """Counted by hand: two blocks of a mixer, a coupling and a SwiGLU, a table of roles, a read-out, a halting head."""
    config = ModelConfig(state="digits", hidden_size=192, mixer="mlp", positions="none")
    block = 3 * 81 * 256 + 192 * 192 + 3 * 192 * 512
    model = abstract_weights(config, 11, 81, 1).model
    assert count_parameters(model) == 2 * block + 3 * 192 + 192 + 2 * 192 + 2


def test_inner_widths():
    assert [swiglu_width(width, 4.0) for width in (1, 96, 97, 512)] == [256, 256, 512, 1536]
    assert [swiglu_width(width, 4.0, 32) for width in (1, 32, 36, 48, 512)] == [32, 96, 96, 128, 1376]
    assert [swiglu_width(width, 4.0, 1) for width in (3, 36)] == [8, 96]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"puzzle_emb_ndim": 16}, "model.puzzle_emb_ndim: found 16, expected 0 with state 'digits', which has no pref"),
        ({"register": True}, "model.register: found True, expected False with state 'digits', which has no prefix"),
        ({"positions": "rope_grid", "mixer": "mlp"}, "model.positions: found 'rope_grid' with mixer 'mlp', expected "),
        ({"positions": "rope_grid", "num_heads": 8}, "model.num_heads: found head size 2 = 16 // 8, expected a multip"),
        (
            {"state": "cells", "positions": "rope_grid", "puzzle_emb_ndim": 16},
            "model.positions: found 'rope_grid' with 2 prefix positions, expected none (puzzle_emb_ndim 0 and register",
        ),
    ],
)
def test_what_cannot_work_is_refused(model: dict[str, Any], says: str):
    with pytest.raises(InputError) as error:
        config_of(**model)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_puzzles_that_have_no_digits_are_refused():
    config = tiny_config(model=ATTENTION)
    maze = Metadata(0, None, 0, 6, 25, 1, 8, 1.0, 8, ["all"], kind="maze")
    with pytest.raises(InputError, match=r"model\.state: found 'digits' for puzzles of kind 'maze', expected 'cells'"):
        abstract_state(config, maze)
    with pytest.raises(InputError, match=r"model\.state: found 'digits' for 3 tokens, expected at least 4: "):
        Reasoner(config.model, 3, 16, key=KEY)
    with pytest.raises(InputError, match=r"model\.positions: found 'rope_grid' for 15 cells, expected a square board"):
        Reasoner(config.model, 6, 15, key=KEY)


def test_answers_of_unknown_puzzles_need_digits(tmp_path: Path):
    """Of a set of another kind only its answers tell whether token 1 is a blank."""
    rng = np.random.default_rng(0)
    for least in (1, 2):
        answers = rng.integers(least, 10, (16, 12))
        answers[0, 0] = least
        puzzles = PuzzleSet.from_arrays(answers[:, ::-1], answers, vocab_size=10)
        path = tmp_path / str(least)
        write_puzzle_set(path, {"train": puzzles, "test": puzzles})
        config = tiny_config(data={"path": str(path)}, model=MLP)
        if least == 1:
            with pytest.raises(
                InputError, match=r"model\.state: found 'digits' for .*, whose set all has token 1 in an"
            ):
                open_sets(config)
            open_sets(tiny_config(data={"path": str(path)}))
        else:
            assert open_sets(config).train.examples == 16


def test_the_original_has_no_such_model():
    for model in (MLP, {"state": "cells", "inner_multiple": 8}, {"state": "cells", "positions": "rope_grid"}):
        config = tiny_config(model=NO_PREFIX | {"inner_multiple": 256} | model)
        with pytest.raises(InputError, match=r"model\.(state|inner_multiple|positions): found "):
            settings_from_config(config)


def test_no_row_without_being_asked():
    assert ModelConfig(state="digits").row_size == ModelConfig(state="digits").prefix_len == 0
    assert ModelConfig().row_size == 512
