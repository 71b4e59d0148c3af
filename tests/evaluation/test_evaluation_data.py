"""Puzzle sets that a model is evaluated on: identifiers are matched by name, or the set is an error."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import tiny_config

import trm
from trm.checkpoints.description import Description
from trm.evaluation.data import open_data
from trm.evaluation.report import Predictions
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.identity import fingerprint
from trm.puzzles.writing import write_puzzle_set
from trm.training.state import make_state

CONFIG = tiny_config(halting={"halt_max_steps": 2})
TOKENS = {name: np.random.default_rng(i).integers(1, 6, 16) for i, name in enumerate("abcd")}


def write_set(directory: Path, names: str) -> Path:
    """Write a puzzle set with one puzzle for each name, in that order."""
    tokens = np.stack([TOKENS[name] for name in names])
    identifiers = np.arange(1, len(names) + 1)
    puzzles = trm.PuzzleSet.from_arrays(
        tokens, tokens, 6, puzzle_identifiers=identifiers, num_puzzle_identifiers=len(names) + 1
    )
    write_puzzle_set(directory, {"train": puzzles, "test": puzzles}, ["<blank>", *names])
    return directory


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "own", "abc")


@pytest.fixture(scope="module")
def model(own: Path) -> trm.TrainedModel:
    """Return a model whose answers depend on the puzzle embedding."""
    puzzles = trm.PuzzleSet.from_arrays(
        np.ones((1, 16), int), np.ones((1, 16), int), 6, puzzle_identifiers=np.array([3]), num_puzzle_identifiers=4
    )
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, path=str(own)))
    state = fetch(make_state(config, puzzles.metadata, make_mesh(1)))
    table = np.asarray(10 * jax.random.normal(jax.random.key(0), state.puzzle_table.shape))
    identity = fingerprint([own], "train")
    description = Description("weights", config, puzzles.metadata, 1, identity=identity, averaged=False)
    return trm.TrainedModel(Weights(state.model, table), description, "tiny")


def with_description(model: trm.TrainedModel, **changes: Any) -> trm.TrainedModel:
    return dataclasses.replace(model, description=dataclasses.replace(model.description, **changes))


def answers(model: trm.TrainedModel, data: Path, **options: Any) -> dict[tuple, tuple]:
    """Evaluate; return the answer to each puzzle."""
    seen: list[Predictions] = []
    trm.evaluate(model, data, devices=1, on_answers=seen.append, **options)
    rows = [row for batch in seen for row in zip(batch.inputs.tolist(), batch.predictions.tolist(), strict=True)]
    return {tuple(question): tuple(answer) for question, answer in rows if any(question)}


@pytest.mark.parametrize("options", [{}, {"halt": True}], ids=["every step", "solver"])
def test_identifiers_are_matched_by_name(model: trm.TrainedModel, own: Path, tmp_path: Path, options: dict):
    other = write_set(tmp_path / "other", "ca")
    expected, found = answers(model, own, **options), answers(model, other, **options)
    assert len(found) == 2
    assert found == {question: expected[question] for question in found}
    # By number the answers would be others.
    wrong = with_description(model, identity=fingerprint([other], "train"))
    assert answers(wrong, other, **options) != found


def test_the_set_of_the_model_is_named(model: trm.TrainedModel, own: Path, tmp_path: Path):
    """Where it is no longer at its place, an option says where it is."""
    other = write_set(tmp_path / "other", "ca")
    moved = dataclasses.replace(model.config, data=dataclasses.replace(model.config.data, path=str(tmp_path / "gone")))
    moved = with_description(model, config=moved)
    says = f"{other}: identifiers: found other names than tiny was trained with, expected the same, or --trained-on DIR"
    with pytest.raises(trm.InputError, match=says):
        open_data(moved, other)
    assert answers(moved, other, trained_on=own) == answers(model, other)
    # A set that was built anew is not the one that the model was trained on.
    write_set(tmp_path / "gone", "bca")
    with pytest.raises(trm.InputError, match=says):
        open_data(moved, other)
    with pytest.raises(trm.InputError, match=r"--trained-on: .*gone: identifiers: found other names, expected"):
        open_data(moved, other, trained_on=tmp_path / "gone")
    with pytest.raises(trm.InputError, match=r"--trained-on: .*other: identifiers: found 3 names, expected"):
        open_data(moved, other, trained_on=other)


def test_puzzles_without_an_embedding(model: trm.TrainedModel, tmp_path: Path):
    with pytest.raises(trm.InputError, match="found puzzle 'd', and 0 more, expected puzzles that tiny was trained on"):
        open_data(model, write_set(tmp_path / "new", "ad"))


@pytest.mark.slow
def test_files_without_fingerprints(model: trm.TrainedModel, own: Path, tmp_path: Path):
    """An earlier format goes on, and says that nothing was compared; names that are given are used."""
    earlier = with_description(model, identity={})
    (line,) = open_data(earlier, own).warnings
    assert line.startswith("tiny: has no fingerprint of its identifiers (an earlier format, or an imported file)")
    with pytest.warns(UserWarning, match="tiny: has no fingerprint"):
        trm.evaluate(earlier, own, devices=1)
    other = write_set(tmp_path / "other", "ca")
    assert open_data(earlier, other, trained_on=own).warnings == ()
    assert answers(earlier, other, trained_on=own) == answers(model, other)


@pytest.mark.slow
def test_one_identifier_is_always_the_same(splits: dict[str, trm.PuzzleSet], puzzle_dir: Path):
    metadata = splits["test"].metadata
    state = fetch(make_state(CONFIG, metadata, make_mesh(1)))
    description = Description("weights", CONFIG, metadata, 1, identity={"identifiers": "another"}, averaged=False)
    model = trm.TrainedModel(Weights(state.model, state.puzzle_table), description, "tiny")
    assert open_data(model, puzzle_dir).warnings == ()
    # A puzzle set in memory is evaluated like one on disk.
    reports = [trm.evaluate(model, data, devices=1)["all"] for data in (puzzle_dir, splits["test"])]
    assert reports[0] == reports[1]


def test_neutral_settings_alone(model: trm.TrainedModel, own: Path):
    changed = model.with_settings(["model.remat=true", "train.microbatches=2"])
    assert jax.tree.structure(changed.weights) != jax.tree.structure(model.weights)
    assert answers(changed, own) == answers(model, own)
    with pytest.raises(trm.InputError, match=r"model\.H_cycles: found 3, expected no other key than model"):
        model.with_settings(["model.H_cycles=3"])
