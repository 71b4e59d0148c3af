"""Two processes of one run: they stop at the same step, resume from the same checkpoint, and only one of them
prints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tiny_config
from test_processes import free_port
from test_run_folder import assert_same, flip, metrics_of

from trm.configuration.reading import config_to_toml
from trm.training.checkpoints import newest_checkpoint

TRAIN = """
import json
import sys
import time
from pathlib import Path

from trm.configuration.reading import read_config
from trm.parallel.distributed import Launch, joined
from trm.parallel.mesh import make_mesh
from trm.training.run import train

address, process, config, run, slow = sys.argv[1:]
lines = []

def hook(line):
    lines.append(line)
    time.sleep(float(slow))

with joined(Launch(address, 2, int(process), distributed=True)):
    outcome = train(read_config(config), run, make_mesh(), resume=True, hooks=[hook])
ended = {"step": outcome.step, "signal": outcome.signal, "lines": len(lines)}
Path(f"{run}.{process}.json").write_text(json.dumps(ended))
"""

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def start(config: Path, run: Path, slow: float = 0.0) -> list[subprocess.Popen]:
    """Start both processes of a run; `slow`: seconds to wait after every step."""
    address = f"127.0.0.1:{free_port()}"
    # Without LLVM's optimisations it compiles in half the time.
    flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, address, str(process), str(config), str(run), str(slow)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]


def finish(processes: list[subprocess.Popen], run: Path) -> tuple[list[dict[str, int]], list[str]]:
    """Return how each process ended, and what it printed."""
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        printed.append(out)
    return [json.loads(Path(f"{run}.{process}.json").read_text()) for process in range(2)], printed


def test_two_processes_stop_together_and_go_on_from_the_same_checkpoint(puzzle_dir: Path, tmp_path: Path):
    path, whole, run = tmp_path / "tiny.toml", tmp_path / "whole", tmp_path / "run"
    rules = {"checkpoint_interval_steps": 4, "epochs": 20, "eval_interval": 10}
    path.write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)}, train=rules)))
    ended, _ = finish(start(path, whole), whole)
    # 50 steps and two evaluations, told by the first process alone.
    assert ended == [{"step": 50, "signal": 0, "lines": 52}, {"step": 50, "signal": 0, "lines": 0}]

    processes = start(path, run, slow=0.2)
    while not (run / "metrics.jsonl").exists() or len(metrics_of(run)) < 10:
        assert all(process.poll() is None for process in processes), finish(processes, run)
        time.sleep(0.01)
    # To the one that does not write.
    processes[1].send_signal(signal.SIGTERM)
    ended, printed = finish(processes, run)
    assert ended[0]["signal"] == ended[1]["signal"] == signal.SIGTERM
    assert 10 <= ended[0]["step"] == ended[1]["step"] < 50
    assert printed[1] == ""
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == f"step_{ended[0]['step']}.safetensors"
    assert not (run / "weights.safetensors").exists()

    flip(newest)
    ended, printed = finish(start(path, run), run)
    assert f"renamed to {newest.name}.damaged" in printed[0]
    assert [end["step"] for end in ended] == [50, 50]
    assert_same(run, whole)
