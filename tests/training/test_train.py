"""A run: killed or not, it ends with the same weights and files; a run that cannot be resumed is an error."""

import dataclasses
import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from rich.console import Console
from test_train_step import EXPLORING, assert_equal

from trm.checkpoints.format import load_weights
from trm.configuration.reading import config_from_tables, config_to_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set
from trm.training.checkpoints import newest_checkpoint
from trm.training.run import train
from trm.training.sets import evaluation_steps, open_sets
from trm.training.state import load_state, total_steps
from trm.training.step import make_train_step

DEVICES = len(jax.devices())


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train/lm_loss"]) for line in lines if "train/lm_loss" in line]


def weights_of(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def assert_same_run(run: Path, whole: Path) -> None:
    """Require the same losses, weights, state and best score, bit for bit."""
    assert losses(run) == losses(whole)
    assert weights_of(run) == weights_of(whole)
    (state, description), (expected, expected_description) = (
        load_state(newest_checkpoint(folder) or folder) for folder in (run, whole)
    )
    assert_equal(state, expected)
    assert description.best == expected_description.best


@pytest.fixture(scope="module")
def finished(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a configuration and the folder of its run."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    config = tiny_config(data={"path": str(puzzle_dir)}, halting=EXPLORING["halting"])
    train(config, run, make_mesh(1))
    return config, run


def test_a_run_leaves_what_it_promises(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 2})
    lines: list[dict] = []
    outcome = train(config, tmp_path, make_mesh(1), hooks=[lines.append])
    assert outcome.step == 15
    assert outcome.stopped == ""
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 16))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step_14.safetensors",
        "step_15.safetensors",
    ]
    evaluated = [line["step"] for line in lines if "all/exact_accuracy" in line]
    assert evaluated == [7, 15] == evaluation_steps(config, open_sets(config).train.metadata, 15)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.toml", "metrics.jsonl", "checkpoints", "best.safetensors", "weights.safetensors"
    }  # fmt: skip
    with pytest.raises(InputError, match="already holds step_15"):
        train(config, tmp_path, make_mesh(1))


@pytest.mark.slow
def test_signals_save_and_the_run_goes_on(puzzle_dir: Path, tmp_path: Path):
    """A run that a signal stops ends with a checkpoint of its last step, and goes on from there."""
    config = tiny_config(data={"path": str(puzzle_dir)}, halting=EXPLORING["halting"])
    train(config, tmp_path / "whole", make_mesh(1))

    def signal_at(step: int, number: signal.Signals) -> Callable[[dict], None]:
        return lambda line: os.kill(os.getpid(), number) if line["step"] == step else None

    for step, number in ((4, signal.SIGTERM), (10, signal.SIGINT)):
        hooks = [signal_at(step, number)]
        outcome = train(config, tmp_path / "stopped", make_mesh(1), resume=True, hooks=hooks)
        assert outcome.stopped.startswith(f"{number.name} at step {outcome.step}")
        assert step <= outcome.step <= step + 1
        checkpoint = newest_checkpoint(tmp_path / "stopped")
        assert checkpoint is not None
        assert checkpoint.name == f"step_{outcome.step}.safetensors"
    train(config, tmp_path / "stopped", make_mesh(1), resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_all_options_of_the_fast_recipe_resume(puzzle_dir: Path, tmp_path: Path):
    """Broken off before the first checkpoint or after it, in any stage, a run ends with the same bytes."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        model={"gate": "norm", "register": True, "puzzle_emb_ndim": 0},
        loss={"type": "softmax_cross_entropy", "label_smoothing": 0.2, "halting_weight": 0.05, "step_decay": 0.7},
        optimizer={"type": "muon", "max_gradient_norm": 1.0, "ema_start_step": 6, "lr_min_ratio": 0.0},
        train={"checkpoint_interval_steps": 4, "curriculum": [[0.5, 1, 1]]},
        halting=EXPLORING["halting"] | {"refill": "queue"},
    )
    lines: list[dict] = []
    train(config, tmp_path / "whole", make_mesh(1), hooks=[lines.append])
    assert sum(line.get("train/rows", 0) for line in lines) < 15 * 8

    class Broken(BaseException):
        """Ends the run at once, as an interrupt does."""

    def break_at(step: int) -> Callable[[dict], None]:
        def on_metrics(line: dict) -> None:
            if line["step"] == step:
                raise Broken

        return on_metrics

    for step in (3, 10):
        with pytest.raises(Broken):
            train(config, tmp_path / "broken", make_mesh(1), resume=True, hooks=[break_at(step)])
    train(config, tmp_path / "broken", make_mesh(1), resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_resume_refuses_another_experiment(finished: tuple[Config, Path]):
    config, whole = finished
    other = tiny_config(data={"path": config.data.path}, halting=EXPLORING["halting"], optimizer={"lr": 0.5})
    with pytest.raises(InputError, match=r"optimizer\.lr: found 0\.5, expected 0\.001, as in"):
        train(other, whole, make_mesh(1), resume=True)


@pytest.mark.parametrize(
    ("lr", "says"),
    [
        # The first update is huge, but finite; what the next step computes with its weights is not.
        (1e15, r"step 2: .* is (nan|inf); the run ends here. The last good checkpoint is .*step_1.safetensors"),
        # The first update is not finite itself, though the loss before it was.
        (1e38, r"step 1: parameter_norm is (nan|inf); the run ends here. There is no checkpoint before this step"),
    ],
)
def test_numbers_that_are_not_finite_end_the_run(lr: float, says: str, puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        optimizer={"lr": lr, "lr_warmup_steps": 0},
        train={"checkpoint_interval_steps": 1},
    )
    with pytest.raises(FloatingPointError, match=says):
        train(config, tmp_path, make_mesh(1))
    # What was saved is good: the step that went wrong is not among it.
    newest = newest_checkpoint(tmp_path)
    if newest is None:
        assert lr == 1e38
        return
    state, _ = load_state(newest)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((state.model, state.carry.latents)))


def test_early_stop_and_best(puzzle_dir: Path, tmp_path: Path):
    """With a learning rate of zero nothing gets better: the first evaluation is the best, patience ends the run."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        optimizer={"lr": 0.0, "puzzle_emb_lr": 0.0, "ema": False},
        train={"epochs": 40, "eval_interval": 2, "patience": 3, "best_metric": "lm_loss"},
    )
    outcome = train(config, tmp_path, make_mesh(1))
    assert outcome.step == 20
    assert "no better lm_loss in 3 evaluations; the best was at step 5" in outcome.stopped
    assert (tmp_path / "best.safetensors").exists()
    # Its patience is still at an end when it is resumed, unless it is given more.
    resumed = train(config, tmp_path, make_mesh(1), resume=True)
    assert (resumed.step, resumed.stopped) == (20, outcome.stopped)
    patient = config_from_tables(config_to_tables(config), ["train.patience=4"])
    assert train(patient, tmp_path, make_mesh(1), resume=True).step == 25

    # The same test set in another place changes nothing. A score on another one cannot be compared.
    test_set = shutil.copytree(puzzle_dir / "test", tmp_path / "moved" / "test").parent
    moved = config_from_tables(config_to_tables(patient), [f"data.test_path={test_set}"])
    assert train(moved, tmp_path, make_mesh(1), resume=True).best.step == 5
    inputs = np.load(test_set / "test" / "all__inputs.npy")
    np.save(test_set / "test" / "all__inputs.npy", inputs[::-1])
    printed = io.StringIO()
    other = train(moved, tmp_path, make_mesh(1), resume=True, console=Console(file=printed, width=500))
    assert (other.step, other.best.step) == (50, 30)
    assert "found another test set than before; the best weights until step 5" in printed.getvalue()


def test_without_labels_the_last_weights_are_the_best(puzzle_dir: Path, tmp_path: Path):
    shutil.copytree(puzzle_dir, tmp_path / "set")
    labels = tmp_path / "set" / "test" / "all__labels.npy"
    np.save(labels, np.full_like(np.load(labels), read_puzzle_set(puzzle_dir, "test").metadata.ignore_label_id or 0))
    config = tiny_config(data={"path": str(tmp_path / "set")}, train={"patience": 1, "eval_interval": 2})
    outcome = train(config, tmp_path / "run", make_mesh(1))
    assert (outcome.step, outcome.stopped) == (15, "")
    best, last = (load_weights(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "weights"))
    assert_equal(best[0], last[0])
    assert best[1] == dataclasses.replace(last[1], chosen_on="test")


def test_a_refused_resume_changes_nothing(finished: tuple[Config, Path]):
    config, whole = finished
    before = (whole / "config.toml").read_bytes()
    pieces = config_from_tables(config_to_tables(config), ["train.microbatches=8"])
    with pytest.raises(InputError, match=r"train\.global_batch_size: found 8, expected a multiple of 16"):
        train(pieces, whole, make_mesh(2), resume=True)
    assert (whole / "config.toml").read_bytes() == before


def test_only_leftovers_of_a_killed_run_are_removed(puzzle_dir: Path, tmp_path: Path):
    (tmp_path / ".data.17.tmp").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".step_3.safetensors.17.tmp").touch()
    others = [tmp_path / ".draft.tmp", tmp_path / "notes" / ".a.17.tmp"]
    (tmp_path / "notes").mkdir()
    for path in others:
        path.touch()
    train(tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 1, "eval_interval": 1}), tmp_path, make_mesh(1))
    assert sorted(tmp_path.rglob("*.tmp")) == sorted(others)


def test_what_cannot_be_logged_is_one_line(puzzle_dir: Path, tmp_path: Path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot write: Is a directory"):
        train(tiny_config(data={"path": str(puzzle_dir)}), tmp_path, make_mesh(1))


def test_too_few_epochs_for_a_step(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 1, "global_batch_size": 64})
    with pytest.raises(InputError, match=r"train\.epochs: found 1, which make 0 steps"):
        open_sets(config)


def test_sets_that_do_not_go_together(puzzle_dir: Path, splits: dict[str, PuzzleSet], tmp_path: Path):
    other = sudoku_build.build_split(
        "x", sudoku_text.read_table(bundled_csv("sudoku-6x6-test.csv.gz")), np.random.default_rng(0)
    )
    write_puzzle_set(tmp_path / "six", {"train": other, "test": other}, ["<blank>"])
    config = tiny_config(data={"path": str(puzzle_dir), "test_path": str(tmp_path / "six")})
    with pytest.raises(InputError, match="vocab_size: found 8, expected 6, as trained on"):
        open_sets(config)
    with pytest.raises(InputError, match=r"data\.path: found nothing"):
        open_sets(tiny_config())


@pytest.mark.parametrize("devices", [3, DEVICES + 1])
def test_device_counts_that_do_not_fit(devices: int, splits: dict[str, PuzzleSet]):
    if devices > DEVICES:
        with pytest.raises(InputError, match=f"--devices: found {devices}, expected 1 to {DEVICES}"):
            make_mesh(devices)
    else:
        with pytest.raises(InputError, match="expected a multiple of 3"):
            make_train_step(tiny_config(), splits["train"].metadata, make_mesh(devices))


def test_steps_of_a_run():
    config = tiny_config()
    assert total_steps(config, sudoku_build.metadata_of(20, 4)) == 15
    # Intervals of 3 epochs of 20 puzzles in batches of 8: 7.5 steps each.
    assert evaluation_steps(config, sudoku_build.metadata_of(20, 4), 15) == [7, 15]
    later = tiny_config(train={"min_eval_interval": 1})
    assert evaluation_steps(later, sudoku_build.metadata_of(20, 4), 15) == [15]
