"""Validation puzzles decide the best weights; a run cannot be resumed with another puzzle set."""

import dataclasses
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_trm, tiny_config
from test_run_folder import assert_same, go_on

from trm.checkpoints.describe import describe
from trm.checkpoints.format import load_weights
from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Report
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.validation import hold_back
from trm.puzzles.writing import write_puzzle_set
from trm.storage.safetensors import read_safetensors, write_safetensors
from trm.training import evaluator
from trm.training.run import train
from trm.training.sets import open_sets
from trm.training.start_from import WarmStart

VALIDATED: dict[str, dict[str, Any]] = {
    "train": {"eval_interval": 1, "best_metric": "lm_loss", "epochs": 12},
    # Over-fitting at this rate: the best weights are not the last.
    "optimizer": {"lr": 2e-2, "lr_warmup_steps": 0, "ema_rate": 0.5},
}


@pytest.fixture(scope="module")
def validated(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path, Any]:
    """Return a configuration with 5 of 20 groups held back, the folder of its run, and how it ended."""
    config = tiny_config(data={"path": str(puzzle_dir), "validation": 5}, **VALIDATED)
    run = tmp_path_factory.mktemp("runs") / "validated"
    return config, run, train(config, run, make_mesh(1))


def metrics_of(config: Config, weights_path: Path, puzzles: PuzzleSet) -> dict[str, float]:
    """Evaluate a file of weights."""
    mesh = make_mesh(1)
    weights = place(load_weights(weights_path)[0], mesh, REPLICATED)
    return evaluate_every_step(make_evaluation_step(config, mesh), weights, puzzles, 8, mesh)["all"].metrics


def test_the_best_weights_are_chosen_on_puzzles_that_are_not_trained_on(validated: tuple[Config, Path, Any]):
    config, run, outcome = validated
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["validation/all/lm_loss"] for line in lines if "validation/all/lm_loss" in line}
    assert len(scores) > 5
    best = min(scores, key=scores.__getitem__)
    description = describe(run / "best.safetensors")[0]
    assert (description.step, description.chosen_on) == (best, "validation") == (outcome.best.step, outcome.chosen_on)
    whole = read_puzzle_set(config.data.train_paths[0], "train")
    _, held = hold_back(whole, 5, config.train.seed)
    measured = metrics_of(config, run / "best.safetensors", held)
    assert measured["lm_loss"] == pytest.approx(scores[best], rel=1e-6)
    # The test set is seen once, at the end.
    (of_test,) = (line for line in lines if any(name.startswith("test/") for name in line))
    assert lines[-1] == of_test
    assert not [line for line in lines if "all/lm_loss" in line]
    expected = metrics_of(config, run / "best.safetensors", open_sets(config).test)
    assert outcome.reports["all"].metrics == pytest.approx(expected, rel=1e-6)
    assert of_test["test/all/lm_loss"] == pytest.approx(expected["lm_loss"], rel=1e-6)
    assert describe(run / "weights.safetensors")[0].chosen_on == ""


def test_without_validation_the_test_set_chooses_and_says_so(
    puzzle_dir: Path, capsys: pytest.CaptureFixture, tmp_path: Path
):
    path = tmp_path / "config.toml"
    path.write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)})))
    code, out, _ = run_trm(capsys, "train", path, "--out", tmp_path / "run")
    assert code == 0
    assert "chosen on the test set" in out
    assert describe(tmp_path / "run" / "best.safetensors")[0].chosen_on == "test"


def test_several_sets_count_by_their_puzzles():
    """One puzzle of a small set does not decide half of the score, and a set without labels none of it."""

    def report(examples: int, accuracy: float) -> Report:
        return Report(examples, {"exact_accuracy": accuracy, "lm_loss": accuracy}, {}, [], [], [])

    reports = {"small": report(1, 1.0), "large": report(99, 0.0), "unlabelled": report(0, math.nan)}
    evaluation = evaluator.Evaluation("validation/", reports, {})
    assert evaluation.score("exact_accuracy") == pytest.approx(0.01)
    assert evaluation.score("lm_loss") == pytest.approx(-0.01), "a smaller loss is better"
    assert math.isnan(evaluator.Evaluation("", {"unlabelled": report(0, math.nan)}, {}).score("exact_accuracy"))


def test_a_signal_in_the_last_evaluation(
    validated: tuple[Config, Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, folder, _ = validated
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "weights.safetensors").unlink()

    def interrupted(*arguments: Any) -> Any:
        step, weights, puzzles, batch_size, mesh, on_answers = arguments

        def see(batch: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            on_answers(batch)

        return evaluate_every_step(step, weights, puzzles, batch_size, mesh, see)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "evaluate_every_step", interrupted)
        outcome, _ = go_on(config, run)
    assert (outcome.signal, outcome.weights_path, outcome.reports) == (signal.SIGTERM, None, {})
    outcome, _ = go_on(config, run)
    assert outcome.reports["all"].examples == 10
    assert_same(run, folder)


def test_another_puzzle_set_is_refused_by_name(validated: tuple[Config, Path, Any], tmp_path: Path):
    config, folder, _ = validated
    data = shutil.copytree(config.data.train_paths[0], tmp_path / "data")
    moved = tiny_config(data={"path": str(data), "validation": 5}, **VALIDATED)
    # The same puzzles in another place.
    go_on(moved, shutil.copytree(folder, tmp_path / "moved"))
    inputs = np.load(data / "train" / "all__inputs.npy")
    np.save(data / "train" / "all__inputs.npy", inputs[::-1])
    with pytest.raises(InputError, match=rf"{data}: found other examples than expected"):
        go_on(moved, shutil.copytree(folder, tmp_path / "run"))


def test_a_file_without_fingerprints_goes_on_with_a_line(validated: tuple[Config, Path, Any], tmp_path: Path):
    config, folder, _ = validated
    run = shutil.copytree(folder, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        arrays, text = read_safetensors(path)
        values = json.loads(text["trm"])
        # A file of format 1 has none of these.
        values = {key: value for key, value in values.items() if key != "checksum"} | {"identity": {}}
        write_safetensors(path, arrays, {"trm": json.dumps(values)})
    _, printed = go_on(config, run)
    assert sum("has no fingerprints of its puzzle set" in line for line in printed.splitlines()) == 1


@pytest.mark.slow
def test_puzzle_embeddings_go_by_number_only_to_the_same_names(splits: dict[str, PuzzleSet], tmp_path: Path):
    names = ["<blank>", "apple", "pear"]
    for directory, of_set in (("one", names), ("same", names), ("other", ["<blank>", "pear", "apple"])):
        metadata = {split: _with_identifiers(puzzles) for split, puzzles in splits.items()}
        write_puzzle_set(tmp_path / directory, metadata, of_set)
    train(tiny_config(data={"path": str(tmp_path / "one")}), tmp_path / "run", make_mesh(1))
    start = WarmStart(tmp_path / "run" / "weights.safetensors")
    for directory, by_name in (("same", False), ("other", True)):
        config = tiny_config(data={"path": str(tmp_path / directory)})
        init = start._replace(data=tmp_path / "one") if by_name else start
        if by_name:
            with pytest.raises(InputError, match=r"identifiers: found others than those of .*, or --init-data"):
                train(config, tmp_path / directory / "refused", make_mesh(1), init=start)
        assert train(config, tmp_path / directory / "run", make_mesh(1), init=init).step == 15


def _with_identifiers(puzzles: PuzzleSet) -> PuzzleSet:
    """Return the puzzles with identifiers 1 and 2 in turn."""
    arrays = puzzles.sets["all"]
    identifiers = 1 + np.arange(len(arrays.puzzle_identifiers)) % 2
    arrays = dataclasses.replace(arrays, puzzle_identifiers=identifiers.astype(np.int32))
    metadata = dataclasses.replace(puzzles.metadata, num_puzzle_identifiers=3)
    return PuzzleSet(puzzles.name, metadata, {"all": arrays})


def test_validation_leaves_something_to_train_on(puzzle_dir: Path):
    with pytest.raises(InputError, match=r"data\.validation: found 20, expected fewer than the 20 groups"):
        open_sets(tiny_config(data={"path": str(puzzle_dir), "validation": 20}))
