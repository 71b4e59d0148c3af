"""A run that is killed several times, in separate processes, ends with the same files as an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tiny_config
from test_train import assert_same_run, losses
from test_train_step import EXPLORING

from trm.configuration.reading import config_to_toml
from trm.parallel.mesh import make_mesh
from trm.training.checkpoints import newest_checkpoint
from trm.training.run import train

pytestmark = [pytest.mark.slow, pytest.mark.processes]

TRAIN = "import sys; from trm.cli.main import main; sys.argv[0] = 'trm'; main()"
TRAIN_KILLED_WHILE_SAVING = """
import os, signal
import trm.storage.files
replace = os.replace
def killed(source, target):
    if str(target).endswith("step_14.safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
trm.storage.files.os.replace = killed
"""


def test_a_run_that_is_broken_off_six_times(puzzle_dir: Path, tmp_path: Path):
    """One run: killed before its first checkpoint, while it saves one, after an evaluation; then stopped by signals."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        halting=EXPLORING["halting"],
        train={"checkpoint_interval_steps": 7, "epochs": 200, "eval_interval": 50},
    )
    whole, run, path = tmp_path / "whole", tmp_path / "run", tmp_path / "tiny.toml"
    train(config, whole, make_mesh())
    path.write_text(config_to_toml(config))

    def start(code: str = TRAIN) -> subprocess.Popen:
        # Before the first checkpoint there is nothing to resume: with --resume the run begins.
        command = [sys.executable, "-c", code, "train", str(path), "--out", str(run), "--resume"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    kill_at_step(start(), run, 3)
    assert newest_checkpoint(run) is None
    leave_half_a_line(run)

    process = start(TRAIN_KILLED_WHILE_SAVING + TRAIN)
    assert finish(process)[0] == -signal.SIGKILL
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == "step_7.safetensors"
    assert list(run.rglob(".*.tmp"))

    # After the evaluation of step 125.
    kill_at_step(start(), run, 140)
    leave_half_a_line(run)

    for step, number in ((200, signal.SIGTERM), (300, signal.SIGINT)):
        process = start()
        wait_for_step(run, step, process)
        process.send_signal(number)
        code, out, err = finish(process)
        # A supervisor sees that the run is not at its end.
        assert code == 128 + number, err
        assert not (run / "weights.safetensors").exists()
        assert f"stopped: {number.name} at step" in out
        newest = newest_checkpoint(run)
        assert newest is not None
        assert newest.name == f"step_{losses(run)[-1][0]}.safetensors"

    code, _, err = finish(start())
    assert code == 0, err
    assert_same_run(run, whole)
    assert not list(run.rglob(".*.tmp"))


def test_a_preemption_while_the_step_is_compiled(puzzle_dir: Path, tmp_path: Path):
    """The process ends within the ten seconds that a preemption gives it, though the compiler needs longer."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        model={"H_cycles": 3, "L_cycles": 12, "L_layers": 4, "unroll": True},
    )
    run, path = tmp_path / "run", tmp_path / "slow.toml"
    path.write_text(config_to_toml(config))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("JAX_PERSISTENT", "JAX_COMPILATION"))
    } | {"XLA_FLAGS": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, "train", str(path), "--out", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(2)
    process.terminate()
    began = time.monotonic()
    code, out, err = finish(process)
    assert code == 128 + signal.SIGTERM, err
    assert time.monotonic() - began < 10
    # It had not come to its first step.
    assert (run / "metrics.jsonl").read_text() == ""
    assert "stopped: SIGTERM at step 0" in out


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def kill_at_step(process: subprocess.Popen, run: Path, step: int) -> None:
    """Kill a run with signal 9 when it has written the metrics of a step."""
    wait_for_step(run, step, process)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        # A line that is being written is no line yet.
        path = run / "metrics.jsonl"
        if path.exists() and any(f'"step": {step},' in line for line in path.read_text().splitlines()):
            return
        time.sleep(0.005)
    raise AssertionError(f"no step {step} in {run}: {finish(process)}")


def leave_half_a_line(run: Path) -> None:
    """Write what a process leaves that is killed while it writes its metrics."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9999, "tr')
