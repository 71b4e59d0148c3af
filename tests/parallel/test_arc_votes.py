"""ARC evaluated by two processes with two devices each: votes, pass@K and submission are those of one with four."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from conftest import GOLDEN, run_trm, tiny_config
from test_launch import finish, start
from test_processes import free_port

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.evaluation.arc import describe_rankings, pass_at, submission, voter_for
from trm.evaluation.evaluate import evaluate
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.arc.votes import Ranking
from trm.puzzles.reading import read_puzzle_set
from trm.solving.trained_model import load
from trm.training.evaluator import CompiledEvaluation, Evaluator
from trm.training.signals import StopRequest
from trm.training.state import make_state, trained_weights

EVALUATE = """
import json
import sys
from pathlib import Path

import jax

address, process, weights, data, out = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
assert (len(jax.local_devices()), len(jax.devices())) == (2, 4)

from test_arc_votes import results_of

Path(out).write_text(json.dumps(results_of(Path(weights), Path(data))))
"""


def rankings_of(weights: Path, data: Path, **options: Any) -> dict[str, list[Ranking]]:
    """Return the votes of all processes, counted in this one."""
    puzzles = read_puzzle_set(data, "test")
    voter = voter_for(puzzles, [data])
    assert voter is not None
    # The last batch is not full, and its padding is of the last process.
    assert puzzles.examples % 16
    evaluate(load(weights), puzzles, batch_size=16, on_answers=voter.see, **options)
    return voter.rankings()


def results_of(weights: Path, data: Path) -> dict[str, Any]:
    """Return what evaluations find, as JSON: after every step, with the halting head, and in a training run."""
    results: dict[str, Any] = {}
    for name, options in {"every step": {}, "halting": {"halt": True}}.items():
        rankings = rankings_of(weights, data, **options)
        results[name] = {
            "candidates": {task: [test.candidates for test in tests] for task, tests in rankings.items()},
            "ranks": describe_rankings(rankings),
            "pass@K": pass_at(rankings),
            "submission": submission(rankings),
        }
    model, puzzles = load(weights), read_puzzle_set(data, "test")
    evaluator = Evaluator(CompiledEvaluation(model.config, make_mesh(), StopRequest()), puzzles, [str(data)])
    evaluation = evaluator(model.weights)
    results["in training"] = {"pass@K": evaluation.passed, "metrics": evaluation.reports["all"].metrics}
    return json.loads(json.dumps(results, default=bytes.hex))


@pytest.fixture
def weights_and_data(tmp_path: Path, capsys: pytest.CaptureFixture) -> tuple[Path, Path]:
    """Return random weights, and a set of ARC tasks to some of whose test inputs they know the answer."""
    weights, data = tmp_path / "weights.safetensors", tmp_path / "arc"
    assert run_trm(capsys, "data", "arc", data, GOLDEN / "arc_small" / "source" / "arc", "--num-aug", 6)[0] == 0
    config = tiny_config(data={"path": str(data)}, train={"global_batch_size": 16}, halting={"halt_max_steps": 2})
    metadata = read_puzzle_set(data, "train").metadata
    rng = np.random.default_rng(0)
    fresh = trained_weights(make_state(config, metadata, make_mesh()))
    # Fresh weights answer every puzzle alike, are as sure of each, and never halt.
    moved: Weights = jax.tree.map(
        lambda leaf: np.asarray(leaf) + rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), fresh
    )
    moved = eqx.tree_at(lambda w: w.model.q_head.bias, moved, replace_fn=np.zeros_like)
    save(weights, moved, Description("weights", config, metadata, 0, averaged=True))
    tasks = json.loads((data / "test_puzzles.json").read_text())
    for place, tests in enumerate(rankings_of(weights, data).values()):
        for pair, test in zip([*tasks.values()][place]["test"], tests, strict=True):
            grids = [candidate.grid.tolist() for candidate in test.candidates if candidate.grid.size]
            if grids:
                pair["output"] = grids[min(place % 4, len(grids) - 1)]
    (data / "test_puzzles.json").write_text(json.dumps(tasks))
    return weights, data


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_count_the_votes_of_one(weights_and_data: tuple[Path, Path], tmp_path: Path):
    flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=2")
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    address = f"127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", EVALUATE, *map(str, (address, i, *weights_and_data, tmp_path / f"{i}.json"))],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    one = results_of(*weights_and_data)
    for process in started:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    found = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2)]

    # Votes that could be counted wrongly: of several grids, some several times, none as sure as another.
    tests = [test for tests in one["every step"]["candidates"].values() for test in tests]
    assert sum(len(test) > 1 for test in tests) > 1
    assert any(votes > 1 for test in tests for _, votes, _ in test)
    assert len({confidence for test in tests for *_, confidence in test}) > 10
    assert 0 < one["every step"]["pass@K"]["pass@1"] < one["every step"]["pass@K"]["pass@5"]
    assert one["every step"] != one["halting"]
    assert one["every step"]["pass@K"] == one["in training"]["pass@K"]
    # Sums over devices have another order in two processes.
    metrics = [results["in training"].pop("metrics") for results in (one, *found)]
    assert metrics[1:] == [pytest.approx(metrics[0], rel=1e-6)] * 2
    assert found == [one, one]


@pytest.mark.slow
@pytest.mark.processes
def test_the_command_counts_the_votes_of_all_processes(
    weights_and_data: tuple[Path, Path], capsys: pytest.CaptureFixture, tmp_path: Path
):
    weights, data = weights_and_data
    written = {}
    for name in ("two", "one"):
        report, submitted = tmp_path / f"{name}.json", tmp_path / f"{name}-submission.json"
        options = [weights, "--data", data, "--batch-size", 16, "--json", report, "--submission", submitted]
        if name == "two":
            ended = [finish(process) for process in start(*options, command="evaluate")]
            assert [code for code, _, _ in ended] == [0, 0], ended
            assert "votes: " in ended[0][1]
            assert ended[1][1] == ""
        else:
            assert run_trm(capsys, "evaluate", *options)[0] == 0
        written[name] = json.loads(report.read_text())["arc"], json.loads(submitted.read_text())
    assert written["two"] == written["one"]
    assert 0 < written["one"][0]["pass@1"] < written["one"][0]["pass@5"]
