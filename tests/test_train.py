"""Training: one device or many, whole or in pieces, killed or not, the numbers are the same."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

from trm.checkpoint import load_state, trained_weights
from trm.config import Config, config_from_tables, config_to_tables, config_to_toml
from trm.curriculum import cycles_at
from trm.data import sudoku
from trm.data.csv_files import bundled_csv
from trm.data.loader import TrainLoader
from trm.data.puzzle_writer import write_puzzle_set
from trm.data.puzzles import PuzzleSet
from trm.devices import fetch, make_mesh
from trm.errors import InputError
from trm.evaluate import evaluate, make_evaluation_step
from trm.feed import open_feed
from trm.halting import place_batch
from trm.plan import compile_train_step
from trm.train import evaluation_steps, newest_checkpoint, read_sets, train
from trm.train_step import TrainState, make_state, make_train_step, total_steps

DEVICES = len(jax.devices())


def run_steps(
    config: Config, puzzles: PuzzleSet, devices: int, steps: int = 6, cycles: tuple[int, int] | None = None
) -> tuple[TrainState, list[dict]]:
    """Train for a few steps; return the state and the metrics of each step, on the host."""
    mesh = make_mesh(devices)
    state = make_state(config, puzzles.metadata, mesh)
    train_step = make_train_step(config, puzzles.metadata, mesh, cycles)
    loader = TrainLoader(puzzles, config.train.global_batch_size, config.train.seed)
    metrics = []
    for step in range(steps):
        state, sums = train_step(state, place_batch(loader.load(step), mesh))
        metrics.append({name: float(value) for name, value in fetch(sums).items()})
    return fetch(state), metrics


def assert_equal_but_for_rounding(a: TrainState, b: TrainState, steps: int):
    """Compare two states after one step, or after six, in float32, summed in another order."""
    # Latents are of size 3 and go through a dozen network passes a step; weights move by 1e-3 a step.
    latents_atol, weights_atol = {1: (4e-6, 5e-8), 6: (1.5e-5, 2e-6)}[steps]
    for (path, x), (_, y) in zip(jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True):
        name = jax.tree_util.keystr(path)
        atol = latents_atol if "latents" in name else weights_atol
        np.testing.assert_allclose(
            np.asarray(x, np.float32), np.asarray(y, np.float32), rtol=0, atol=atol, err_msg=name
        )


def assert_equal(a, b):
    for (path, x), (_, y) in zip(jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


EXPLORING = {"halting": {"halt_exploration_prob": 0.5, "halt_max_steps": 3}}


@pytest.mark.skipif(DEVICES < 4, reason="needs four devices")
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("q_continue", ["unused", "learned"])
def test_one_two_and_four_devices_agree(splits: dict[str, PuzzleSet], q_continue: str, steps: int):
    config = tiny_config(halting=EXPLORING["halting"] | {"q_continue": q_continue})
    one, metrics_of_one = run_steps(config, splits["train"], 1, steps)
    # Sequences halted and were replaced on the way.
    assert steps == 1 or sum(m["count"] for m in metrics_of_one) > 8
    for devices in (2, 4):
        many, metrics = run_steps(config, splits["train"], devices, steps)
        assert_equal_but_for_rounding(one, many, steps)
        for a, b in zip(metrics_of_one, metrics, strict=True):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 6])
def test_microbatches_agree_with_the_whole_batch(splits: dict[str, PuzzleSet], steps: int):
    whole, metrics_of_whole = run_steps(tiny_config(**EXPLORING), splits["train"], 1, steps)
    pieces, metrics = run_steps(tiny_config(**EXPLORING, train={"microbatches": 4}), splits["train"], 1, steps)
    assert_equal_but_for_rounding(whole, pieces, steps)
    for a, b in zip(metrics_of_whole, metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


def run_from_queue(
    config: Config, puzzles: PuzzleSet, devices: int, steps: int
) -> tuple[TrainState, list[np.ndarray], list[int]]:
    """Train for a few steps, the feed told late what was taken; return state, inputs that began, and their numbers."""
    mesh = make_mesh(devices)
    state = make_state(config, puzzles.metadata, mesh)
    # A head that halts some and not others.
    weight = jax.random.normal(jax.random.key(0), (16, 2)) / 4
    state = eqx.tree_at(lambda s: (s.model.q_head.weight, s.model.q_head.bias), state, (weight, jnp.zeros(2)))
    train_step = make_train_step(config, puzzles.metadata, mesh)
    known, pending, begun, counts = 0, 0, [], []
    with open_feed(puzzles, config, mesh, start=0, taken=0) as feed:
        for _ in range(steps):
            halted = fetch(state.carry.halted)
            state, metrics = train_step(state, feed(known))
            begun += list(fetch(state.carry.batch.inputs)[halted])
            known, pending = known + pending, int(metrics["rows"])
            counts.append(pending)
    return fetch(state), begun, counts


QUEUED = {"halting": EXPLORING["halting"] | {"refill": "queue"}}


def test_no_row_of_the_queue_is_lost(splits: dict[str, PuzzleSet]):
    """Slots begin with the rows of the loader's batches, each once and in order, over many windows."""
    puzzles = splits["train"]
    state, begun, counts = run_from_queue(tiny_config(**QUEUED), puzzles, 1, steps=16)
    loader = TrainLoader(puzzles, 8, 0)
    expected = np.concatenate([loader.load(step).inputs for step in range(len(begun) // 8 + 1)])
    np.testing.assert_array_equal(begun, expected[: len(begun)])
    assert state.rows_taken == sum(counts) == len(begun)
    # Over more than a window, at an uneven pace.
    assert 3 * 8 < len(begun) < 16 * 8
    assert len(set(counts)) > 3


@pytest.mark.skipif(DEVICES < 4, reason="needs four devices")
def test_a_queue_is_dealt_out_to_devices_and_pieces_as_to_one(splits: dict[str, PuzzleSet]):
    one, begun, _ = run_from_queue(tiny_config(**QUEUED), splits["train"], 1, steps=6)
    config = tiny_config(**QUEUED, train={"microbatches": 2})
    many, begun_on_many, _ = run_from_queue(config, splits["train"], 4, steps=6)
    np.testing.assert_array_equal(begun, begun_on_many)
    assert_equal_but_for_rounding(one, many, 6)


def test_cycles_of_a_stage_are_those_of_a_model_that_has_them(splits: dict[str, PuzzleSet]):
    shallow, metrics = run_steps(tiny_config(model={"H_cycles": 1, "L_cycles": 1}), splits["train"], 1, steps=2)
    staged, metrics_of_staged = run_steps(tiny_config(), splits["train"], 1, steps=2, cycles=(1, 1))
    _, metrics_of_deep = run_steps(tiny_config(), splits["train"], 1, steps=2)
    for a, b in zip(jax.tree.leaves(shallow), jax.tree.leaves(staged), strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics == metrics_of_staged != metrics_of_deep


def test_stages_of_a_curriculum():
    config = tiny_config(train={"curriculum": [[0.3, 1, 1], [0.6, 2, 1]]})
    cycles = [cycles_at(config, step, 10) for step in range(1, 11)]
    assert cycles == [(1, 1)] * 3 + [(2, 1)] * 3 + [(2, 2)] * 4
    assert cycles_at(tiny_config(), 1, 10) == (2, 2)


@pytest.mark.parametrize("mixer", [{}, {"mixer": "mlp", "positions": "none"}])
def test_rematerialization_takes_less_memory_and_changes_no_number(splits: dict[str, PuzzleSet], mixer: dict):
    puzzles = splits["train"]
    kept, again = (
        tiny_config(model={**mixer, "remat": remat}, train={"global_batch_size": 64}) for remat in (False, True)
    )
    accounts: list[Any] = [
        compile_train_step(config, puzzles.metadata, make_mesh(1)).memory_analysis() for config in (kept, again)
    ]
    temporary = [account.temp_size_in_bytes for account in accounts]
    assert temporary[1] < 0.8 * temporary[0]
    (a, a_metrics), (b, b_metrics) = (run_steps(config, puzzles, 1, steps=1) for config in (kept, again))
    assert_equal_but_for_rounding(a, b, 1)
    assert a_metrics[0]["lm_loss"] == pytest.approx(b_metrics[0]["lm_loss"], rel=1e-6)


@pytest.mark.parametrize(("model", "microbatches"), [({}, 1), ({}, 2), ({"puzzle_emb_ndim": 0}, 1)])
def test_collectives_in_the_compiled_step(model: dict, microbatches: int):
    """One all-reduce and one all-gather (none without puzzle embeddings), neither inside a loop."""
    if DEVICES < 2:
        pytest.skip("needs two devices")
    config = tiny_config(model=model, train={"microbatches": microbatches})
    text = compile_train_step(config, sudoku.metadata_of(20, 4), make_mesh(2)).as_text()
    assert text is not None
    computations = re.split(r"\n(?=\S)", text)
    entry = [c for c in computations if c.startswith("ENTRY")]
    names = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)(?:-start)?\("
    everywhere = sorted(re.findall(rf"= \S+ {names}", text))
    assert everywhere == (["all-gather", "all-reduce"] if not model else ["all-reduce"])
    assert sorted(re.findall(rf"= \S+ {names}", entry[0])) == everywhere


def test_state_is_donated():
    """The memory of the old state is that of the new one."""
    memory = compile_train_step(tiny_config(), sudoku.metadata_of(20, 4), make_mesh(1)).memory_analysis()
    assert memory is not None
    tokens = 8 * (2 * 16 + 1) * 4
    assert memory.alias_size_in_bytes >= memory.argument_size_in_bytes - tokens - 64


def test_constants_are_not_trained(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"weight_decay": 1.0})
    before = fetch(make_state(config, splits["train"].metadata, make_mesh(1)))
    after, _ = run_steps(config, splits["train"], 1)
    assert_equal(before.model.recursion.initial, after.model.recursion.initial)
    assert after.ema is not None
    assert jax.tree.leaves(after.ema.recursion.initial) == []
    assert (before.model.lm_head != after.model.lm_head).any()


def test_frozen_weights_leave_only_the_puzzle_table_to_train(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"freeze_weights": True})
    before = fetch(make_state(config, splits["train"].metadata, make_mesh(1)))
    after, _ = run_steps(config, splits["train"], 1)
    assert_equal(before.model, after.model)
    assert (before.puzzle_table != after.puzzle_table).all()


def test_average_equals_the_weights_before_its_start(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"ema_rate": 0.9, "ema_start_step": 3})
    states = [run_steps(config, splits["train"], 1, steps)[0] for steps in (2, 3)]
    before, after = ((s.model.lm_head, s.ema.lm_head) for s in states if s.ema is not None)
    np.testing.assert_array_equal(*before)
    np.testing.assert_allclose(after[1], 0.9 * before[0] + 0.1 * after[0], rtol=1e-6)
    assert (after[0] != after[1]).all()


def test_nothing_is_compiled_after_the_first_step(splits: dict[str, PuzzleSet]):
    config, puzzles, mesh = tiny_config(), splits["train"], make_mesh(min(2, DEVICES))
    state, train_step = make_state(config, puzzles.metadata, mesh), make_train_step(config, puzzles.metadata, mesh)
    loader = TrainLoader(puzzles, 8, 0)
    for step in range(4):
        state, _ = train_step(state, place_batch(loader.load(step), mesh))
        # Private to JAX, and so not among the types.
        assert train_step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


NO_CYCLES = {"L_layers": 0, "H_cycles": 0, "L_cycles": 0}


@pytest.mark.parametrize(
    ("model", "q_continue", "lr", "steps"),
    [
        ({"mixer": "mlp", "positions": "none"}, "unused", 5e-3, 400),
        ({"recursion": "hrm", "H_layers": 1, "mixer": "mlp", "positions": "none"}, "learned", 5e-3, 250),
        ({"recursion": "trm_singlez", "mixer": "mlp", "positions": "none"}, "learned", 5e-3, 250),
        ({"recursion": "trm_hier6", "mixer": "mlp", "positions": "none"}, "unused", 5e-3, 250),
        # Without recursion it takes twice as long.
        (
            {"recursion": "transformers_baseline", "H_layers": 2, "positions": "learned"} | NO_CYCLES,
            "compared",
            3e-3,
            500,
        ),
    ],
    ids=["trm", "hrm", "trm_singlez", "trm_hier6", "transformers_baseline"],
)
def test_a_tiny_set_is_learned_by_heart(
    tables: dict[str, sudoku.Table], model: dict, q_continue: str, lr: float, steps: int
):
    """Sixteen puzzles, trained on until every answer is exactly right, by the same code as everything else."""
    table = sudoku.Table(*(column[:16] for column in tables["train"]))
    puzzles = sudoku.build_split("sixteen", table, np.random.default_rng(0))
    config = tiny_config(
        model={"hidden_size": 32, "puzzle_emb_ndim": 0} | model,
        halting={"q_continue": q_continue},
        optimizer={"lr": lr, "lr_warmup_steps": 10, "weight_decay": 0.0, "ema_rate": 0.9},
        train={"global_batch_size": 16, "epochs": steps},
    )
    state, metrics = run_steps(config, puzzles, 1, steps=steps)
    assert metrics[-1]["lm_loss"] < 0.1 * metrics[0]["lm_loss"]
    mesh = make_mesh(1)
    report = evaluate(make_evaluation_step(config, mesh), trained_weights(state), puzzles, 16, mesh)["all"]
    assert report.metrics["exact_accuracy"] == 1.0
    if q_continue == "unused":
        assert report.metrics["halting_exact_accuracy"] == 1.0
    if q_continue == "learned":
        # It says when going on no longer promises more.
        assert metrics[-1]["q_continue_loss"] < 0.5 * metrics[0]["q_continue_loss"]


# Runs in a folder


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train/lm_loss"]) for line in lines if "train/lm_loss" in line]


def weights_of(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def test_a_run_leaves_what_it_promises(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 2})
    lines: list[dict] = []
    outcome = train(config, tmp_path, make_mesh(1), on_metrics=lines.append)
    assert outcome.step == 15
    assert outcome.stopped == ""
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 16))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step_14.safetensors",
        "step_15.safetensors",
    ]
    evaluated = [line["step"] for line in lines if "all/exact_accuracy" in line]
    assert evaluated == [7, 15] == evaluation_steps(config, read_sets(config)[0].metadata, 15)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.toml", "metrics.jsonl", "checkpoints", "best.safetensors", "weights.safetensors"
    }  # fmt: skip
    with pytest.raises(InputError, match="already holds step_15"):
        train(config, tmp_path, make_mesh(1))


def train_in_subprocess(config: Config, run: Path, *options: str, **environment: str) -> subprocess.Popen:
    """Start `trm train` in a process of its own."""
    path = run.parent / f"{run.name}.toml"
    path.write_text(config_to_toml(config))
    command = [sys.executable, "-m", "trm", "train", str(path), "--out", str(run), *options]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a configuration and the folder of its run from start to end, in a process of its own."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        halting=EXPLORING["halting"],
        train={"checkpoint_interval_steps": 7, "epochs": 100, "eval_interval": 25},
    )
    code, _, err = finish(train_in_subprocess(config, run))
    assert code == 0, err
    return config, run


def wait_for_lines(run: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    path = run / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} lines in {path}: {finish(process)}")


def assert_same_run(run: Path, whole: Path) -> None:
    assert losses(run) == losses(whole)
    assert weights_of(run) == weights_of(whole)
    (state, description), (expected, expected_description) = (
        load_state(newest_checkpoint(folder) or folder) for folder in (run, whole)
    )
    assert_equal(state, expected)
    assert description.best == expected_description.best


@pytest.mark.parametrize("lines", [3, 20, 150])
def test_killed_and_resumed_is_bit_identical(uninterrupted: tuple[Config, Path], lines: int, tmp_path: Path):
    """kill -9, before the first checkpoint, after it, and after an evaluation; then go on."""
    config, whole = uninterrupted
    run = tmp_path / "killed"
    process = train_in_subprocess(config, run)
    wait_for_lines(run, lines, process)
    process.kill()
    finish(process)
    # A killed run can leave half a line.
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9999, "tr')
    code, _, err = finish(train_in_subprocess(config, run, "--resume"))
    assert code == 0, err
    assert_same_run(run, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit_cleanly(uninterrupted: tuple[Config, Path], number: signal.Signals, tmp_path: Path):
    config, whole = uninterrupted
    run = tmp_path / "stopped"
    process = train_in_subprocess(config, run)
    wait_for_lines(run, 10, process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 0, err
    assert f"stopped: {number.name} at step" in out
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert f"step_{losses(run)[-1][0]}." in checkpoint.name
    code, _, err = finish(train_in_subprocess(config, run, "--resume"))
    assert code == 0, err
    assert_same_run(run, whole)


KILL_WHILE_SAVING = """
import os, signal, sys
import trm.files
replace = os.replace
def killed(source, target):
    if str(target).endswith("step_14.safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
trm.files.os.replace = killed
from trm.cli import main
sys.argv[0] = "trm"
main()
"""


def test_killed_while_saving_keeps_the_checkpoint_before(uninterrupted: tuple[Config, Path], tmp_path: Path):
    """kill -9 between writing a checkpoint and moving it into place."""
    config, whole = uninterrupted
    run, path = tmp_path / "killed", tmp_path / "killed.toml"
    path.write_text(config_to_toml(config))
    command = [sys.executable, "-c", KILL_WHILE_SAVING, "train", str(path), "--out", str(run)]
    assert subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == -signal.SIGKILL
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == "step_7.safetensors"
    assert list(run.rglob(".*.tmp"))
    code, _, err = finish(train_in_subprocess(config, run, "--resume"))
    assert code == 0, err
    assert_same_run(run, whole)
    assert not list(run.rglob(".*.tmp"))


def test_all_options_of_the_fast_recipe_resume(puzzle_dir: Path, tmp_path: Path):
    """Broken off before the first checkpoint or after it, in any stage, a run ends with the same bytes."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        model={"gate": "norm", "register": True, "puzzle_emb_ndim": 0},
        loss={"type": "softmax_cross_entropy", "label_smoothing": 0.2, "halting_weight": 0.05, "step_decay": 0.7},
        optimizer={"type": "muon", "max_gradient_norm": 1.0, "ema_start_step": 6, "lr_min_ratio": 0.0},
        train={"checkpoint_interval_steps": 4, "curriculum": [[0.5, 1, 1]]},
        **QUEUED,
    )
    lines: list[dict] = []
    train(config, tmp_path / "whole", make_mesh(1), on_metrics=lines.append)
    assert sum(line.get("train/rows", 0) for line in lines) < 15 * 8

    class Broken(Exception):
        pass

    def break_at(step: int) -> Callable[[dict], None]:
        def on_metrics(line: dict) -> None:
            if line["step"] == step:
                raise Broken

        return on_metrics

    for step in (3, 10):
        with pytest.raises(Broken):
            train(config, tmp_path / "broken", make_mesh(1), resume=True, on_metrics=break_at(step))
    train(config, tmp_path / "broken", make_mesh(1), resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_resume_refuses_another_experiment(uninterrupted: tuple[Config, Path]):
    config, whole = uninterrupted
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
        optimizer={"lr": 0.0, "puzzle_emb_lr": 0.0},
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


def test_too_few_epochs_for_a_step(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 1, "global_batch_size": 64})
    with pytest.raises(InputError, match=r"train\.epochs: found 1, which make 0 steps"):
        train(config, tmp_path, make_mesh(1))


def test_sets_that_do_not_go_together(puzzle_dir: Path, splits: dict[str, PuzzleSet], tmp_path: Path):
    other = sudoku.build_split("x", sudoku.read_csv(bundled_csv("sudoku-6x6-test.csv.gz")), np.random.default_rng(0))
    write_puzzle_set(tmp_path / "six", {"train": other, "test": other}, ["<blank>"])
    config = tiny_config(data={"path": str(puzzle_dir), "test_path": str(tmp_path / "six")})
    with pytest.raises(InputError, match="vocab_size: found 8, expected 6, as trained on"):
        read_sets(config)
    with pytest.raises(InputError, match=r"data\.path: found nothing"):
        read_sets(tiny_config())


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
    assert total_steps(config, sudoku.metadata_of(20, 4)) == 15
    # Intervals of 3 epochs of 20 puzzles in batches of 8: 7.5 steps each.
    assert evaluation_steps(config, sudoku.metadata_of(20, 4), 15) == [7, 15]
    later = tiny_config(train={"min_eval_interval": 1})
    assert evaluation_steps(later, sudoku.metadata_of(20, 4), 15) == [15]
