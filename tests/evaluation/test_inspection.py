"""Inspections against evaluation, supervision steps made by hand, and mixers with known mixing."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import in_float32, tiny_config

import trm
from trm.errors import InputError
from trm.evaluation.inspection import Inspection, trace_examples
from trm.evaluation.mixing import by_offset, by_relation, mixing_of, relations
from trm.evaluation.recording import record, record_cycles
from trm.model.reasoner import Reasoner
from trm.model.recursions import RECURSIONS, unused_sizes
from trm.model.weights import Weights
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.puzzles.kinds.sudoku.text import read_table

PUZZLES = 16


def some_puzzles(count: int) -> PuzzleSet:
    """Return puzzles of which the first 16 hold three that take the network more than one supervision step."""
    table = read_table(bundled_csv("sudoku-6x6-test.csv.gz"))
    questions, answers = (boards[32 : 32 + count].reshape(count, 36) + TOKEN_OF_DIGIT_0 for boards in table[:2])
    made = PuzzleSet.from_arrays(questions, answers, vocab_size=8)
    return dataclasses.replace(made, metadata=dataclasses.replace(made.metadata, kind="sudoku"))


@pytest.fixture(scope="module")
def puzzles() -> PuzzleSet:
    return some_puzzles(PUZZLES)


@pytest.fixture(scope="module")
def found(puzzles: PuzzleSet) -> Inspection:
    return trm.inspect(in_float32(trm.load("sudoku-6x6")), puzzles, puzzles=500)


def test_accuracy_is_that_of_an_evaluation(found: Inspection, puzzles: PuzzleSet):
    assert sorted(found.examples) == list(range(PUZZLES))
    report = trm.evaluate(in_float32(trm.load("sudoku-6x6")), puzzles)["all"]
    expected = [(step.accuracy.token, step.accuracy.exact) for step in report.by_compute]
    np.testing.assert_allclose(found.accuracy.mean(axis=1), [token for token, _ in expected], atol=1e-6)
    np.testing.assert_allclose(found.exact.mean(axis=1), [exact for _, exact in expected], atol=1e-6)
    stopped = found.stopped
    np.testing.assert_allclose(stopped.steps.mean(), report.metrics["halting_steps"], rtol=1e-6)
    np.testing.assert_allclose(stopped.exact.mean(), report.metrics["halting_exact_accuracy"], rtol=1e-6)
    np.testing.assert_array_equal(stopped.steps, found.stopped_at(0.5).steps)
    assert 0 < found.exact[0].mean() < 1


def test_sizes_and_distances_by_hand(found: Inspection):
    model = in_float32(trm.load("sudoku-6x6"))
    latents: Any = model.reason(found.inputs[:3]).latents
    z_L = np.asarray(latents.z_L, np.float64)
    for step in (1, 5):
        for puzzle in range(3):
            change = np.sqrt(np.mean((z_L[step, puzzle] - z_L[step - 1, puzzle]) ** 2))
            size = np.sqrt(np.mean(z_L[step, puzzle] ** 2))
            np.testing.assert_allclose(found.record.sizes["z_L"][step + 1, puzzle], size, rtol=1e-4)
            np.testing.assert_allclose(found.record.distances["z_L"][step, puzzle], change / size, rtol=1e-2)
    logits = z_L[0] @ np.asarray(model.weights.model.lm_head, np.float64)
    right = (logits.argmax(axis=-1) == found.labels[:3]).mean(axis=-1)
    np.testing.assert_allclose(found.record.read_accuracy["z_L"][0, :3], right, atol=0.03)
    assert found.record.sizes["z_H"].shape == (9, PUZZLES)


def test_the_last_cycles_are_the_steps(found: Inspection):
    assert found.cycles.exact.shape == (8, PUZZLES, 2, 3)
    np.testing.assert_array_equal(found.cycles.exact[:, :, -1, -1], found.exact)
    np.testing.assert_allclose(found.cycles.accuracy[:, :, -1, -1], found.accuracy, rtol=1e-6)


@pytest.mark.slow
def test_cycles_are_those_of_the_first_64():
    found = trm.inspect("sudoku-6x6", some_puzzles(66), puzzles=500)
    assert found.exact.shape == (8, 66)
    np.testing.assert_array_equal(found.cycles.exact[:, :, -1, -1], found.exact[:, :64])


def test_an_early_cycle_is_a_step_of_fewer_cycles():
    """By the same weights in a model whose only H cycle has one L cycle."""
    config = tiny_config()
    assert config.model.L_cycles > 1
    short = dataclasses.replace(config.model, H_cycles=1, L_cycles=1)
    model, other = (Reasoner(each, vocab_size=6, seq_len=16, key=jax.random.key(0)) for each in (config.model, short))
    inputs = np.asarray(jax.random.randint(jax.random.key(1), (3, 16), 0, 6))
    rows = jnp.ones((3, 16))
    labels = np.asarray(other(jnp.asarray(inputs), rows, other.initial_latents(inputs.shape))[1].predictions)
    weights = Weights(model, jnp.ones((1, 16)))
    got = record_cycles(weights, config, inputs, labels, np.zeros(3, np.int32), steps=2)
    assert got.exact[0, :, 0, 0].all()
    assert not got.exact[0, :, -1, -1].any()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "trm" else [pytest.mark.slow]) for name in RECURSIONS.names()]
)
def test_every_recursion_is_recorded(name: str):
    sizes = dict(unused_sizes(name)) | ({"H_layers": 1} if "H_layers" in RECURSIONS[name].settings else {})
    config = tiny_config(model={"recursion": name, **sizes})
    model = Reasoner(config.model, vocab_size=6, seq_len=16, key=jax.random.key(0))
    inputs = np.asarray(jax.random.randint(jax.random.key(1), (2, 16), 0, 6))
    weights, rows = Weights(model, jnp.ones((1, 16))), np.zeros(2, np.int32)
    labels = np.full_like(inputs, 3)
    got = record(weights, config, inputs, labels, rows, steps=2)
    outputs = jax.jit(trm.reason, static_argnames="steps")(weights, jnp.asarray(inputs), steps=2).outputs
    np.testing.assert_array_equal(got.predictions, outputs.predictions)
    cycles = record_cycles(weights, config, inputs, labels, rows, steps=2)
    assert cycles.accuracy.shape == (2, 2, config.model.H_cycles or 1, config.model.L_cycles or 1)
    right = (np.asarray(outputs.predictions) == 3).mean(axis=-1)
    np.testing.assert_allclose(cycles.accuracy[:, :, -1, -1], right, rtol=1e-6)
    mixing = mixing_of(weights, config.model, inputs, rows)
    assert mixing
    for each in mixing:
        np.testing.assert_allclose(each.shares.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_influence_is_the_derivative_by_differences():
    config = tiny_config(model={"mixer": "mlp", "positions": "none", "H_cycles": 1, "L_cycles": 1, "L_layers": 1})
    model = Reasoner(config.model, vocab_size=6, seq_len=9, key=jax.random.key(0))
    weights = Weights(model, jnp.ones((1, 16)))
    inputs = np.asarray(jax.random.randint(jax.random.key(1), (1, 9), 0, 6))
    (mixing,) = mixing_of(weights, config.model, inputs, np.zeros(1, np.int32))
    recursion: Any = model.recursion
    mlp = recursion.network.blocks[0].mixer.mlp
    x = model.embed(jnp.asarray(inputs), jnp.ones((1, 16)))
    z: Any = model.initial_latents(inputs.shape)
    first = z.z_L + (z.z_H + x)
    z_L = recursion.network(first)
    shares = []
    for h in (first, z.z_H + z_L):
        channels = np.asarray(h[0].T, np.float64)[:: -(-h.shape[-1] // 16)]
        total = np.zeros(())
        for channel in channels:
            columns = []
            for position in range(len(channel)):
                ends = [channel + side * 1e-2 * np.eye(len(channel))[position] for side in (1, -1)]
                up, down = (np.asarray(mlp(jnp.asarray(end[None], jnp.float32))[0]) for end in ends)
                columns.append(np.abs(up - down))
            total = total + np.stack(columns, axis=1)
        shares.append(total / total.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(mixing.shares[0], np.mean(shares, axis=0), rtol=0.02, atol=1e-4)
    assert mixing.method == "influence"
    assert mixing.prefix == model.prefix_len


def test_attention_without_queries_is_even():
    config = tiny_config(model={"mixer": "attention"})
    model = Reasoner(config.model, vocab_size=6, seq_len=9, key=jax.random.key(0))
    blind = eqx.tree_at(
        lambda m: [b.mixer.attention.qkv for b in m.recursion.network.blocks], model, replace_fn=jnp.zeros_like
    )
    inputs = np.asarray(jax.random.randint(jax.random.key(1), (2, 9), 0, 6))
    for each, even in ((blind, True), (model, False)):
        found = mixing_of(Weights(each, jnp.ones((1, 16))), config.model, inputs, np.zeros(2, np.int32))
        assert len(found) == config.model.L_layers
        for mixing in found:
            positions = 9 + mixing.prefix
            assert mixing.method == "attention"
            assert mixing.shares.shape == (config.model.num_heads, positions, positions)
            assert np.allclose(mixing.shares, 1 / positions, rtol=1e-4) == even


def test_relations_of_a_sudoku_and_a_maze():
    sudoku = relations(KINDS["sudoku"].picture(81, 11), 81)
    assert {name: int(pairs[0].sum()) for name, pairs in sudoku.items()} == {
        "itself": 1,
        "same row": 8,
        "same column": 8,
        "same box": 8,
        "other": 60,
    }
    maze = relations(KINDS["maze"].picture(25, 6), 25)
    assert int(maze["neighbour"][0].sum()) == 2
    assert int(maze["neighbour"][12].sum()) == 4
    shares = np.where(sudoku["same row"], 2.0, 1.0)[None]
    ratios = by_relation(shares, sudoku)
    np.testing.assert_allclose(ratios["same row"], 2 / shares.mean())
    np.testing.assert_allclose(ratios["same column"], 1 / shares.mean())


def test_offsets_of_a_shift():
    """Where each cell takes all from the cell at its right, the mean is at one column to the right."""
    shares = np.eye(12, k=1)
    shares[[3, 7]] = 0
    means = by_offset(shares, 4)
    assert means.shape == (5, 7)
    assert means[2, 4] == 1
    assert means.sum() == 1


def test_hardest_come_first(found: Inspection):
    order = found.hardest(PUZZLES)
    assert sorted(order) == list(range(PUZZLES))
    wrong = ~found.exact[-1, order]
    assert wrong.tolist() == sorted(wrong.tolist(), reverse=True)
    steps = (~found.exact).sum(axis=0)[order][wrong.sum() :]
    assert steps.tolist() == sorted(steps.tolist(), reverse=True)
    assert steps[0] > steps[-1]


def test_traces_are_of_the_chosen(found: Inspection):
    chosen = found.hardest(2)
    traces = trace_examples(in_float32(trm.load("sudoku-6x6")), found, chosen)
    for index, trace in zip(chosen, traces, strict=True):
        np.testing.assert_array_equal(trace.question, found.inputs[index])
        np.testing.assert_array_equal(trace.attempts[0].predictions[:, -1], found.record.predictions[:, index])
        solved = trace.attempts[0].solved
        assert solved is not None
        np.testing.assert_array_equal(solved[:, -1], found.exact[:, index])


def test_no_labels(puzzles: PuzzleSet):
    arrays = dataclasses.replace(puzzles.sets["all"], labels=np.zeros((PUZZLES, 36), np.int32))
    with pytest.raises(InputError, match="labels: found none"):
        trm.inspect("sudoku-6x6", dataclasses.replace(puzzles, sets={"all": arrays}))
