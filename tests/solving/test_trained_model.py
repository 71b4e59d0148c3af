"""The Python interface of trained models: the same answers as the solver, and a clear error for other text."""

from typing import Any

import jax
import numpy as np
import pytest
from conftest import tiny_config

import trm
from trm.checkpoints.description import Description
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.puzzles.kinds.sudoku.generate import generate_many
from trm.solving.options import SolverOptions
from trm.solving.solve import solve
from trm.training.state import make_state

CONFIG = tiny_config()
TEXT = "1..4..2..4....3."
TOKENS = np.array([int(cell) + 1 if cell != "." else 1 for cell in TEXT])


@pytest.fixture(scope="module")
def model() -> trm.TrainedModel:
    metadata = metadata_of(20, 4)
    state = fetch(make_state(CONFIG, metadata, make_mesh(1)))
    description = Description("weights", CONFIG, metadata, 1, averaged=False)
    return trm.TrainedModel(Weights(state.model, state.puzzle_table), description, "tiny")


def test_texts_and_arrays(model: trm.TrainedModel):
    answer = model.solve(TEXT, attempts=1)
    np.testing.assert_array_equal(answer.question, TOKENS)
    inputs, identifiers = TOKENS[None].astype(np.int32), np.zeros(1, np.int32)
    expected = solve(model.weights, CONFIG, make_mesh(1), inputs, identifiers, SolverOptions(), 4)
    np.testing.assert_array_equal(answer.tokens, expected.answers[0])
    assert answer.text == "".join(".1234"[token - 1] if token else "." for token in expected.answers[0])
    assert answer.confidence == pytest.approx(expected.confidence[0], rel=1e-5)
    assert (answer.steps, answer.halted) == (expected.steps.sum(), expected.halted[0])
    # Every form of one puzzle, and of several.
    for single in (TOKENS, TOKENS.reshape(4, 4), TOKENS.astype(np.uint8)):
        assert model.solve(single, attempts=1).text == answer.text
    for several in ([TEXT], [TEXT] * 2, TOKENS[None], TOKENS.reshape(1, 4, 4)):
        assert [a.text for a in model.solve(several, devices=1, attempts=1)] == [answer.text] * len(several)


def test_options_reach_the_solver(model: trm.TrainedModel):
    assert model.solve(TEXT, views=3, rollouts=2, noise=0.1, steps=5, halt=False).steps == 30
    assert not model.solve(TEXT, halt=False, attempts=2).halted
    assert model.solve(TEXT, attempts=2, steps=3, halt=False).steps == 6
    one, same, other = (model.solve(TEXT, views=1, noise=2.0, seed=seed).text for seed in (0, 0, 1))
    assert one == same != other


def test_rules_decide_what_is_valid():
    """A trained network solves an easy puzzle; a puzzle with two equal clues in a row has no solution."""
    model = trm.load("sudoku-6x6")
    (puzzle,) = generate_many(6, 1, seed=7, keep_clues=30)
    text = "".join(map(str, puzzle.question.ravel().tolist()))
    assert model.solve(text).valid is True
    assert model.solve("11" + "." * 34, attempts=9).valid is False
    assert not model.description.averaged or model.description.kind == "weights"


def test_reasoning_is_that_of_the_pure_function(model: trm.TrainedModel):
    found = model.reason(TOKENS, steps=3)
    expected = trm.reason(model.weights, jax.numpy.asarray(TOKENS), steps=3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert model.reason(TOKENS[None], np.zeros(1, int)).outputs.logits.shape == (4, 1, 16, 6)


@pytest.mark.parametrize(
    ("puzzles", "options", "says"),
    [
        ("." * 36, {}, "puzzle: found a 6x6 board at line 1, expected 4x4 .the model was trained on 4x4 boards"),
        ([TEXT, "1..q" + "." * 12], {}, "puzzle 1: .*cell 4"),
        ([], {}, "puzzles: found none, expected at least one"),
        (TOKENS + 100, {}, r"inputs\[0, 0\]: found 102, expected 0 to 5"),
        (TOKENS - 3, {}, r"inputs\[0, 0\]: found -1, expected 0 to 5"),
        (TOKENS + 2**32, {}, r"inputs\[0, 0\]: found 4294967298, expected 0 to 5"),
        (TOKENS / 2, {}, "inputs: found float64, expected integers from 0 to 5"),
        (TOKENS[:-1], {}, r"puzzles: found shape \(15,\), expected \(16,\) or \(puzzles, 16\)"),
        (TOKENS, {"identifiers": 1}, r"puzzle_identifiers\[0\]: found 1, expected 0 to 0"),
        (TOKENS, {"identifiers": [0, 0]}, r"identifiers: found shape \(2,\), expected \(\) or \(1,\)"),
        (TOKENS, {"views": 0}, "views: found 0, expected 1 or more"),
        (TOKENS, {"noise_on": "both"}, "noise_on: found 'both' with noise 0"),
    ],
)
def test_mistakes(model: trm.TrainedModel, puzzles: Any, options: dict, says: str):
    with pytest.raises(trm.InputError, match=says):
        model.solve(puzzles, **options)


def test_reason_checks_before_it_compiles(model: trm.TrainedModel):
    with pytest.raises(trm.InputError, match=r"inputs\[3\]: found 500"):
        model.reason(np.where(np.arange(16) == 3, 500, TOKENS))
