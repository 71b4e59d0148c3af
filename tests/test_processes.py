"""Several processes: two, each with one device and its own slice of every batch, train and solve like one with two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import tiny_config

from trm.configuration.reading import config_to_toml
from trm.training.checkpoints import newest_checkpoint
from trm.training.state import load_state

TRAIN = """
import json
import sys
import jax

address, processes, process, config, run = sys.argv[1:]
if int(processes) > 1:
    jax.distributed.initialize(address, int(processes), int(process))

from trm.configuration.reading import read_config
from trm.parallel.mesh import make_mesh
from trm.training.run import train

assert jax.process_count() == int(processes) and len(jax.devices()) == 2
outcome = train(read_config(config), run, make_mesh())

from trm.checkpoints.format import load_weights
from trm.puzzles.reading import read_puzzle_sets
from trm.evaluation.solver import evaluate_solver
from trm.solving.options import SolverOptions

weights, description = load_weights(outcome.weights_path)
puzzles = read_puzzle_sets(description.config.data.test_paths, "test")
options = SolverOptions(noise=0.1, rollouts=2)
report = evaluate_solver(weights, description.config, puzzles, options, 4, make_mesh())["all"]
if jax.process_index() == 0:
    (outcome.weights_path.parent / "report.json").write_text(json.dumps(report.metrics))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_processes(processes: int, config: Path, run: Path) -> None:
    flags = f"--xla_force_host_platform_device_count={2 // processes}"
    address = f"127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, address, str(processes), str(i), str(config), str(run)],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    for process in started:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("refill", ["slot", "queue"])
def test_two_processes_train_like_one(refill: str, puzzle_dir: Path, tmp_path: Path):
    path = tmp_path / "tiny.toml"
    config = tiny_config(data={"path": str(puzzle_dir)}, halting={"refill": refill, "halt_max_steps": 4})
    path.write_text(config_to_toml(config))
    states, reports = [], []
    for processes in (1, 2):
        run = tmp_path / f"{processes}"
        run_processes(processes, path, run)
        newest = newest_checkpoint(run)
        assert newest is not None
        states.append(load_state(newest)[0])
        reports.append(json.loads((run / "report.json").read_text()))
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == 17  # 15 steps, 2 evaluations, each written once.
    for (key, a), (_, b) in zip(*map(jax.tree.leaves_with_path, states), strict=True):
        name = jax.tree_util.keystr(key)
        # As in test_train: 15 steps of float32 in another order.
        atol = 1e-4 if "latents" in name else 5e-6
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=0, atol=atol, err_msg=name
        )
    assert reports[1] == pytest.approx(reports[0], abs=1e-3)
