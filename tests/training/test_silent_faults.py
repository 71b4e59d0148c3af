"""Situations in which a run once went wrong without a word."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config
from rich.console import Console

from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.original.beside import checkpoint_in
from trm.parallel.environment import settle_environment, settled
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader, pack
from trm.storage.files import atomic_write
from trm.training.run import train
from trm.training.sweep import _mean_curve
from trm.training.tracking.history import Curve, History
from trm.training.tracking.jsonl import JsonLines
from trm.training.tracking.measured import Measured


@pytest.fixture(scope="module")
def finished(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a finished run that chose its best weights on validation puzzles."""
    run = tmp_path_factory.mktemp("finished") / "run"
    config = tiny_config(data={"path": str(puzzle_dir), "validation": 4})
    train(config, run, make_mesh(1), console=Console(quiet=True))
    return config, run


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_without_checkpoints_is_not_replaced(
    finished: tuple[Config, Path], resume: bool, tmp_path: Path
):
    config, folder = finished
    run = shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != ".lock"}
    with pytest.raises(InputError, match=r"found weights\.safetensors of a finished run and no checkpoint"):
        train(config, run, make_mesh(1), resume=resume, console=Console(quiet=True))
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name in before} == before


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_run_ends_without_its_best_weights(
    finished: tuple[Config, Path], damage: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    _, folder = finished
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "weights.safetensors").unlink()
    best = run / "best.safetensors"
    if damage == "missing":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:-8] + bytes(8))
    code, out, _ = run_trm(capsys, "train", run, "--resume", "--devices", 1, "--plain")
    assert code == 0
    assert f"warning: {best}: " in out
    assert (run / "weights.safetensors").is_file()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any(name.startswith("test/") for name in lines[-1]), "the test set is seen all the same"


def test_fewer_epochs_than_are_trained(finished: tuple[Config, Path], tmp_path: Path):
    config, folder = finished
    run = shutil.copytree(folder, tmp_path / "run")
    fewer = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=1))
    with pytest.raises(InputError, match=r"train\.epochs: found 1, which make \d+ steps, expected at least the \d+ of"):
        train(fewer, run, make_mesh(1), resume=True, console=Console(quiet=True))


def test_the_configuration_of_a_run_means_the_run(
    finished: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(finished[1], tmp_path / "mine")
    check_mistake(capsys, ["train", str(run / "config.toml")], f"{run}: already holds step_")
    (tmp_path / "config.toml").write_text(config_to_toml(finished[0]), encoding="utf-8")
    code, out, _ = run_trm(capsys, "train", run / "config.toml", "--resume", "--devices", 1, "--plain")
    assert code == 0
    assert f"resuming from {run}" in out
    assert not (tmp_path / "runs").exists()


def test_skipped_steps_are_counted_only(splits: dict[str, PuzzleSet], monkeypatch: pytest.MonkeyPatch):
    """A batch is the same whether the steps before it were loaded or passed over, with puzzles of several examples."""
    puzzles = splits["train"]
    arrays = puzzles.sets["all"]
    sizes = np.random.default_rng(0).multinomial(arrays.examples, np.full(16, 1 / 16))
    uneven = dataclasses.replace(
        arrays,
        puzzle_indices=np.r_[0, np.cumsum(sizes)],
        puzzle_identifiers=np.zeros(16, np.int32),
        group_indices=np.arange(17),
        ratings=None,
    )
    puzzles = dataclasses.replace(puzzles, sets={"all": uneven, "other": uneven})
    in_order = TrainLoader(puzzles, 6, seed=1)
    batches = [in_order.load(step) for step in range(30)]
    drawn = []
    monkeypatch.setattr("trm.puzzles.loader.pack", lambda *arguments: drawn.append(1) or pack(*arguments))
    for step in (29, 7):
        found = TrainLoader(puzzles, 6, seed=1).load(step)
        for field, expected in zip(found, batches[step], strict=True):
            np.testing.assert_array_equal(field, expected)
    assert len(drawn) == 2


def test_a_metrics_file_that_is_replaced_is_opened_again(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    lines = JsonLines(path, 0, False)
    lines.log({"step": 1})
    assert not lines.is_lost
    path.unlink()
    assert lines.is_lost
    # As `sed -i` replaces a file.
    path.write_text("edited\n", encoding="utf-8")
    assert lines.is_lost
    lines.reopen()
    assert not lines.is_lost
    lines.log({"step": 2})
    lines.close()
    assert path.read_text(encoding="utf-8").splitlines() == ["edited", '{"step": 2}']


def test_a_name_that_cannot_be_written_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="cannot write: "), atomic_write(tmp_path / ("x" * 300)):
        pass


def test_settings_are_no_checkpoint(tmp_path: Path):
    for name in ("step_1000", "step_2000", "step_2000.yaml", "step_3000.json"):
        (tmp_path / name).write_bytes(b"x")
    assert checkpoint_in(tmp_path) == tmp_path / "step_2000"


def test_an_offset_of_seeds_is_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAX_RANDOM_SEED_OFFSET", "7")
    assert any(line.startswith("JAX_RANDOM_SEED_OFFSET=7: ignored: ") for line in settle_environment())
    assert "JAX_RANDOM_SEED_OFFSET" not in os.environ
    monkeypatch.setenv("JAX_RANDOM_SEED_OFFSET", "0")
    assert settle_environment() == []
    expected = jax.random.key_data(jax.random.key(0))
    jax.config.update("jax_random_seed_offset", 7)
    try:
        with settled() as lines:
            np.testing.assert_array_equal(jax.random.key_data(jax.random.key(0)), expected)
        assert lines == ["jax_random_seed_offset=7: switched off for now: the seed of a run decides its random numbers"]
        assert jax.config.values["jax_random_seed_offset"] == 7
    finally:
        jax.config.update("jax_random_seed_offset", 0)


def test_a_sweep_weighs_sets_as_the_run_does():
    steps = np.array([10, 20])
    curves = {
        "a/exact_accuracy": Curve(steps, np.array([0.0, 1.0])),
        "b/exact_accuracy": Curve(steps, np.array([0.9, 0.5])),
        "none/exact_accuracy": Curve(steps, np.array([math.nan, math.nan])),
    }
    counts = {f"{name}/puzzles": Curve(steps, np.full(2, n)) for name, n in (("a", 1), ("b", 99), ("none", 0))}
    history = History(Path(), tiny_config(), [], curves | counts, Curve(steps, steps))
    np.testing.assert_allclose(_mean_curve(curves, history).values, [0.891, 0.505])
    # Runs of earlier versions have no counts.
    of_two = {name: curve for name, curve in curves.items() if name[0] != "n"}
    earlier = History(Path(), tiny_config(), [], of_two, Curve(steps, steps))
    np.testing.assert_allclose(_mean_curve(of_two, earlier).values, [0.45, 0.75])


def test_the_first_step_has_no_speed_and_a_stage_its_own_work():
    measured = Measured(8, make_mesh(1), lambda step: 100 * step)
    measured.restart()
    assert math.isnan(measured.step(1)["steps_per_second"])
    second = measured.step(2)
    assert second["flops_per_second"] == pytest.approx(200 * second["steps_per_second"])
