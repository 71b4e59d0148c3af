"""Several processes through the command line: two with two devices each are one with four, and none waits for ever."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.configuration.reading import config_to_toml
from trm.parallel import distributed
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku.text import Table
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set
from trm.training.checkpoints import newest_checkpoint
from trm.training.experiment import config as read_experiment
from trm.training.run import train
from trm.training.state import load_state, make_state, trained_weights

ROUNDING = 5e-6
"""As in test_train_step: some 15 steps of float32 in another order."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def numbers_of(i: int) -> list:
    return ["--processes", 2, "--process", i]


def start(
    *options: object,
    each: Callable[[int], list] = lambda i: [],
    command: str = "train",
    folders: Sequence[Path | None] = (None, None),
    programs: Sequence[Sequence[str]] = (("-m", "trm"), ("-m", "trm")),
) -> list[subprocess.Popen]:
    """Start a command in two processes with two devices each; `each`: further options of one."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=2")
    common = [command, *options, "--coordinator", f"127.0.0.1:{free_port()}"]
    return [
        subprocess.Popen(
            # Of an option that is given twice the last counts.
            [sys.executable, *programs[i], *map(str, [*common, *numbers_of(i), *each(i)])],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            cwd=folders[i],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def write_config(folder: Path, puzzle_dir: Path, refill: str) -> Path:
    path = folder / "tiny.toml"
    halting = {"refill": refill, "halt_max_steps": 4, "halt_exploration_prob": 0.5}
    # Of one kind of run the best weights are read back at the end.
    data = {"path": str(puzzle_dir), "validation": 4 if refill == "queue" else 0}
    path.write_text(config_to_toml(tiny_config(data=data, halting=halting, train={"checkpoint_interval_steps": 2})))
    return path


def assert_same_within_rounding(run: Path, whole: Path) -> None:
    """Compare the last states of two runs, and the order of puzzles, which is in the carry."""
    states = [load_state(newest_checkpoint(folder) or folder)[0] for folder in (run, whole)]
    for (key, a), (_, b) in zip(*map(jax.tree.leaves_with_path, states), strict=True):
        name = jax.tree_util.keystr(key)
        if np.issubdtype(np.asarray(a).dtype, np.integer):
            np.testing.assert_array_equal(a, b, err_msg=name)
        atol = 1e-4 if "latents" in name else ROUNDING
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=0, atol=atol, err_msg=name
        )


def losses(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["train/lm_loss"] for line in lines if "train/lm_loss" in line}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("refill", ["slot", "queue"])
def test_two_processes_one_killed_and_resumed_train_like_one(refill: str, puzzle_dir: Path, tmp_path: Path):
    config, whole, run = write_config(tmp_path, puzzle_dir, refill), tmp_path / "whole", tmp_path / "run"

    steps = train(read_experiment(config), whole, make_mesh(4)).step

    # Before the first evaluation, whose compilation takes longer than a look at the file.
    processes = start(config, "-o", run)
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 4:
        assert all(process.poll() is None for process in processes), [finish(process) for process in processes]
        time.sleep(0.005)
    processes[1].kill()
    begin = time.monotonic()
    code, _, err = finish(processes[0])
    assert code == 1, err
    assert time.monotonic() - begin < 60
    assert "error: another process of this run has ended" in err.splitlines()[-1]
    finish(processes[1])
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name != f"step_{steps}.safetensors"

    ended = [finish(process) for process in start(config, "-o", run, "--resume")]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert f"resuming from {newest}" in ended[0][1].replace("\n", "")
    assert f"step {steps}: weights in" in ended[0][1]
    assert ended[1][1] == ""
    assert_same_within_rounding(run, whole)
    assert losses(run) == pytest.approx(losses(whole), abs=1e-3)
    assert len(losses(run)) == len(losses(whole)) == steps


@pytest.mark.slow
@pytest.mark.processes
def test_a_signal_stops_both_and_one_process_goes_on(puzzle_dir: Path, tmp_path: Path):
    """The signal goes to the process that does not write."""
    config, whole, run = write_config(tmp_path, puzzle_dir, "slot"), tmp_path / "whole", tmp_path / "run"

    train(read_experiment(config), whole, make_mesh(1))
    processes = start(config, "-o", run)
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 4:
        assert all(process.poll() is None for process in processes), [finish(process) for process in processes]
        time.sleep(0.005)
    processes[1].send_signal(signal.SIGTERM)
    ended = [finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [128 + signal.SIGTERM] * 2, ended
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name != "step_15.safetensors"
    # Two processes of two devices to one of one.
    train(read_experiment(config), run, make_mesh(1), resume=True)
    assert_same_within_rounding(run, whole)
    assert losses(run) == pytest.approx(losses(whole), abs=1e-3)


@pytest.mark.slow
@pytest.mark.processes
def test_commands_that_differ(puzzle_dir: Path, tmp_path: Path):
    config = write_config(tmp_path, puzzle_dir, "slot")
    processes = start(config, "-o", tmp_path / "run", each=lambda i: ["--set", f"train.seed={i}"])
    for code, _, err in map(finish, processes):
        assert code == 2
        assert err.splitlines()[-1] == (
            "error: command: found another in process 1 than in process 0, expected the same on each host"
        )


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("each", "says"),
    [
        (lambda i: ["--processes", 3, "--process", min(i, 1)], "did not join"),
        (lambda i: ["--processes", 3, "--process", 0], "expected a free one"),
        (lambda i: ["--processes", 2 + i, "--process", i], "found 2 processes at process 0"),
    ],
    ids=["one that is missing", "two of number 0", "numbers of processes that differ"],
)
def test_processes_that_do_not_come_together(each: Callable[[int], list], says: str, puzzle_dir: Path, tmp_path: Path):
    config = write_config(tmp_path, puzzle_dir, "slot")
    begin = time.monotonic()
    ended = [finish(process) for process in start(config, "-o", tmp_path / "run", each=each)]
    assert time.monotonic() - begin < 90  # Of which importing JAX takes its time on a busy machine.
    assert {code for code, _, _ in ended} <= {1, 2}
    errors = [[line for line in err.splitlines() if line.startswith("error: ")] for _, _, err in ended]
    assert [len(lines) for lines in errors] == [1, 1]
    assert any(says in lines[0] for lines in errors), errors
    assert not any("Traceback" in err or "stack trace" in err for _, _, err in ended)


@pytest.mark.processes
def test_no_cluster(tmp_path: Path):
    command = [sys.executable, "-m", "trm", "train", "sudoku_mlp", "--distributed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --distributed: found no cluster that lists the processes")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--processes", "2"], "found no --coordinator, --process, expected all of"),
        (["--coordinator", "10.0.0.1", "--processes", "2", "--process", "0"], "found '10.0.0.1', expected HOST:PORT"),
        (["--coordinator", "a:1", "--processes", "2", "--process", "2"], "--process: found 2, expected 0 to 1"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], says: str, capsys: pytest.CaptureFixture):
    check_mistake(capsys, ["train", "sudoku_mlp", *options], says)


def test_a_coordinator_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(distributed, "JOIN_SECONDS", 1)
    options = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "1"]
    check_mistake(capsys, ["train", "sudoku_mlp", *options], "--coordinator: found no process 0 at 127.0.0.1")


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture):
    with socket.create_server(("", 0)) as taken:
        options = ["--coordinator", f"127.0.0.1:{taken.getsockname()[1]}", "--processes", "2", "--process", "0"]
        check_mistake(capsys, ["train", "sudoku_mlp", *options], "expected a free one, and one process 0")


# Evaluation


def leaves_of(values: Any, path: tuple = ()) -> dict[tuple, Any]:
    """Return the values of JSON by their paths."""
    if isinstance(values, dict | list):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {key: leaf for name, value in items for key, leaf in leaves_of(value, (*path, name)).items()}
    return {path: values}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    "options",
    [[], ["--views", 2, "--rollouts", 2, "--noise", 0.1, "--select", "rules"], ["--attempts", 10, "--noise", 0.2]],
    ids=["every step", "candidates", "attempts"],
)
def test_two_processes_evaluate_like_one(options: list, capsys: pytest.CaptureFixture, tmp_path: Path):
    """The last batch is not full."""
    data, answers = tmp_path / "data", {name: tmp_path / f"{name}.npz" for name in ("one", "two")}
    puzzles = Table(*(np.array(column) for column in zip(*sudoku_generator.generate_many(6, 21, seed=0), strict=True)))
    split = {"test": sudoku_build.build_split("test", puzzles, np.random.default_rng(0))}
    write_puzzle_set(data, split, ["<blank>"])
    common = ["sudoku-6x6", "--data", data, "--batch-size", 16, "--steps", 1, *options]

    processes = start(*common, "--json", tmp_path / "two.json", "--answers", answers["two"], command="evaluate")
    assert run_trm(capsys, "evaluate", *common, "--json", tmp_path / "one.json", "--answers", answers["one"])[0] == 0
    ended = [finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "21 puzzles" in ended[0][1]
    assert ended[1][1] == ""

    one, two = (leaves_of(json.loads((tmp_path / f"{name}.json").read_text())) for name in ("one", "two"))
    assert 0 < one["all", "by_compute", 0, "accuracy", "exact"] < 1
    floats = {path: value for path, value in one.items() if isinstance(value, float)}
    # Sums over devices have another order in two processes.
    assert {path: two[path] for path in floats} == pytest.approx(floats, rel=1e-5)
    assert two == one | {path: two[path] for path in floats}
    found, expected = (np.load(path) for path in (answers["two"], answers["one"]))
    np.testing.assert_array_equal(found["inputs"], expected["inputs"])
    np.testing.assert_array_equal(found["predictions"], expected["predictions"])
    assert len(expected["inputs"]) == 21


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("what", ["command", "weights"])
def test_evaluations_that_differ(what: str, puzzle_dir: Path, tmp_path: Path):
    config, metadata = tiny_config(), read_puzzle_set(puzzle_dir, "train").metadata
    folders = [tmp_path / "0", tmp_path / "1"]
    for i, folder in enumerate(folders):
        seeded = tiny_config(train={"seed": i if what == "weights" else 0})
        weights = trained_weights(make_state(seeded, metadata, make_mesh()))
        save(folder / "w.safetensors", weights, Description("weights", config, metadata, 0, averaged=True))
    each = (lambda i: ["--steps", 1 + i]) if what == "command" else lambda i: []
    options = ["w.safetensors", "--data", puzzle_dir, "--json", tmp_path / "report.json"]
    subject = "command" if what == "command" else "w.safetensors: weights"
    for code, out, err in map(finish, start(*options, each=each, command="evaluate", folders=folders)):
        assert (code, out) == (2, "")
        assert err.splitlines()[-1] == (
            f"error: {subject}: found another in process 1 than in process 0, expected the same on each host"
        )
    assert not (tmp_path / "report.json").exists()


SLOW_TO_RECEIVE = """
import time
from jax.experimental import multihost_utils

gather = multihost_utils.process_allgather

def gather_slowly(*arguments, **options):
    gathered = gather(*arguments, **options)
    time.sleep(3)
    return gathered

multihost_utils.process_allgather = gather_slowly

from trm.__main__ import main

main()
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("slow", [0, 1])
def test_a_process_that_learns_of_a_difference_late(slow: int, puzzle_dir: Path, tmp_path: Path):
    """The other one waits: its end would be reported instead of the difference."""
    path = write_config(tmp_path, puzzle_dir, "slot")
    programs = [("-c", SLOW_TO_RECEIVE) if i == slow else ("-m", "trm") for i in range(2)]
    options = ["-o", tmp_path / "run"]
    started = start(path, *options, each=lambda i: ["--set", f"train.seed={i}"], programs=programs)
    for code, _, err in map(finish, started):
        assert code == 2
        assert err.splitlines()[-1].startswith("error: command: found another in process 1 than in process 0")


@pytest.mark.slow
@pytest.mark.processes
def test_other_weights_to_start_from(puzzle_dir: Path, tmp_path: Path):
    """No array of the state would be compared later: the processes would train two models."""
    config, metadata = tiny_config(), read_puzzle_set(puzzle_dir, "train").metadata
    folders = [tmp_path / "0", tmp_path / "1"]
    for i, folder in enumerate(folders):
        weights = trained_weights(make_state(tiny_config(train={"seed": i}), metadata, make_mesh()))
        save(folder / "w.safetensors", weights, Description("weights", config, metadata, 0, averaged=True))
    path = write_config(tmp_path, puzzle_dir, "slot")
    for code, _, err in map(finish, start(path, "-o", tmp_path / "run", "--init", "w.safetensors", folders=folders)):
        assert code == 2
        assert "w.safetensors: weights: found another in process 1 than in process 0" in err.splitlines()[-1]
