"""Weights of the state "digits" with attention answer boards of another side than those that they were trained on."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

import trm
from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.errors import InputError
from trm.model.reasoner import Reasoner
from trm.model.weights import Weights
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.solving.trained_model import TrainedModel

ANY_SIDE = {"state": "digits", "mixer": "attention", "positions": "rope_grid", "puzzle_emb_ndim": 0}
LARGE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def of_side(side: int, **model: object) -> TrainedModel:
    config = tiny_config(model=ANY_SIDE | {"inner_multiple": 8} | model, halting={"halt_max_steps": 2})
    network = Reasoner(config.model, side + 2, side * side, key=jax.random.key(0))
    metadata = sudoku_build.metadata_of(1, side)
    weights = Weights(network, jnp.zeros((metadata.num_puzzle_identifiers, config.model.row_size)))
    return TrainedModel(weights, Description("weights", config, metadata, 1, averaged=True), "small")


@pytest.mark.parametrize("side", [4, 6])
def test_small_weights_are_those_of_a_network_for_large_boards(side: int):
    # Drawn from one key, the weights do not depend on the side.
    large, expected = of_side(side).for_side(9), of_side(9)
    tokens = large.parse(LARGE)
    assert (large.metadata.seq_len, large.metadata.vocab_size, tokens.shape) == (81, 11, (81,))
    found = large.reason(tokens).outputs.logits
    assert found.shape == (2, 81, 11)
    np.testing.assert_array_equal(found, expected.reason(tokens).outputs.logits)
    # An answer of its own for each digit, and none for blanks.
    assert np.ptp(np.asarray(found)[..., 2:], axis=-1).min() > 1e-3
    text = large.solve(LARGE, attempts=2).text or ""
    assert (len(text), set(text) - set("123456789")) == (81, set())
    assert large.for_side(9) is large


@pytest.mark.parametrize(
    ("model", "side", "says"),
    [
        ({"mixer": "mlp", "positions": "none"}, 9, r"small: model\.mixer: found 'mlp', expected attention in weights"),
        ({"positions": "learned"}, 9, r"small: model\.positions: found 'learned', expected rope_grid or rope or none"),
        ({"state": "cells"}, 9, r"small: model\.state: found 'cells', expected digits"),
        ({}, 11, r"side: found 11, expected one that boards of sudoku have"),
    ],
)
def test_other_weights_and_sides_are_one_line(model: dict[str, str], side: int, says: str):
    with pytest.raises(InputError, match=says):
        of_side(4, **model).for_side(side)


def test_the_option(tmp_path: Path, capsys: pytest.CaptureFixture):
    model, path = of_side(4), tmp_path / "small.safetensors"
    save(path, model.weights, model.description)
    expected = trm.load(path).for_side(9).solve(LARGE, attempts=2)
    code, out, _ = run_trm(capsys, "solve", path, LARGE, "--side", 9, "--attempts", 2, "--format", "plain")
    assert (code, out.split()[0]) == (0 if expected.valid else 1, expected.text)
    check_mistake(capsys, ["solve", "sudoku", "1...", "--side", "4"], "model.state: found 'cells', expected digits")
