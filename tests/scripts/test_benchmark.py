"""Benchmarks: every command runs, and its records hold what the table needs."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import records
from benchmark import cli, comparison, peak
from benchmark.timing import take_turns
from conftest import tiny_config
from records import Record, read_records

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.reading import read_puzzle_set
from trm.training.state import make_state, trained_weights

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
TINY = [
    "model.hidden_size=16",
    "model.num_heads=2",
    "model.L_layers=1",
    "model.H_cycles=1",
    "model.L_cycles=1",
    "model.puzzle_emb_ndim=0",
    "model.forward_dtype=float32",
    "train.microbatches=1",
    "train.global_batch_size=4",
]
"""A network that compiles in seconds."""
SET_TINY = [part for setting in TINY for part in ("--set", setting)]


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Call the command line of the benchmarks in this process; return exit code, output and errors."""
    sys.argv = [str(SCRIPTS / "benchmark" / "__main__.py"), *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def measure(capsys: pytest.CaptureFixture, path: Path, *arguments: object) -> list[Record]:
    """Run a benchmark, which must succeed; return its records."""
    code, _, err = run(capsys, *arguments, "--json", path)
    assert code == 0, err
    records = read_records(path)
    assert all(record.command == command_of(arguments) for record in records)
    return records


def command_of(arguments: tuple[object, ...]) -> str:
    return " ".join(["python", "scripts/benchmark", *map(str, arguments)])


COMMANDS = [example.split()[0] for example in cli.EXAMPLES.values()]


def test_commands():
    assert COMMANDS == ["step", "memory", "kernels", "scaling", "data", "saving", "solver", "votes"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    # The line may be folded.
    assert f"Example: python scripts/benchmark {command}" in " ".join(out.split())
    assert "--json" in out


def test_the_folder_is_a_program():
    """Without the tests' path: `python scripts/benchmark`."""
    command = [sys.executable, str(SCRIPTS / "benchmark"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": ""})
    assert all(command in result.stdout for command in COMMANDS)


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture):
    mistakes = {
        "no_such": ["step", "no_such"],
        "models/losses.py": ["step", "--against", tmp_path],
        "--json": ["votes", "--json", tmp_path / "missing" / "out.jsonl"],
        "--gpu": ["memory", "quickstart", "--gpu", tmp_path / "missing.textproto"],
        "build_arc_dataset.py": ["data", "--original", tmp_path],
    }
    for says, arguments in mistakes.items():
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert err.startswith("error: ")
        assert says in err
        assert len(err.splitlines()) == 1


def test_votes(tmp_path: Path, capsys: pytest.CaptureFixture):
    (record,) = measure(capsys, tmp_path / "votes.jsonl", "votes", "--tasks", 3, "--views", 40)
    assert record.case == {"tasks": 3, "views": 40, "batch_size": 768}
    assert record.figures["predictions"] == 120
    # Half of the predictions are right and agree; wrong ones differ from each other.
    assert record.figures["pass@1"] == 1
    assert record.figures["candidates"] > 3


@pytest.mark.slow
def test_step(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peak, "_REPEATS", 2)
    arguments = ["step", "sudoku_mlp", *SET_TINY, "--devices", 1, "--repeats", 3]
    (record,) = measure(capsys, tmp_path / "step.jsonl", *arguments)
    figures = record.figures
    assert record.settings == TINY
    assert record.case == {"batch_size": 4, "microbatches": 1, "compute_dtype": "float32"}
    assert record.hardware["devices"] == 1
    for program in ("train", "evaluation"):
        seconds = figures[f"{program}_seconds"]
        assert seconds["n"] == 3
        assert 0 < seconds["min"] <= seconds["median"] <= seconds["max"]
        assert figures[f"{program}_puzzles_per_second"] == pytest.approx(4 / seconds["median"])
    # One layer, H 1, L 1: two passes of the block and one of the heads; the backward pass takes twice as much.
    heads = 2 * 16 * (81 * 11 + 2) / 1e9
    passes = {
        name: figures[f"{name}_gflop_per_second"] * figures[f"{name}_seconds"]["median"] / 4
        for name in ("train", "evaluation")
    }
    assert passes["evaluation"] == pytest.approx(2 * figures["block_gflop"] + heads)
    assert passes["train"] == pytest.approx(3 * (2 * figures["block_gflop"] + heads))


@pytest.mark.slow
def test_memory(tmp_path: Path, capsys: pytest.CaptureFixture):
    arguments = ["memory", "quickstart", *SET_TINY, "--device-gb", 1]
    (record,) = measure(capsys, tmp_path / "memory.jsonl", *arguments)
    assert record.config == "quickstart"
    assert record.case["batch_size"] == 4
    assert record.figures["fits_with"] == "no remat"
    assert record.figures["positions"] == 36
    expected = record.figures["state_gb"] + 4 * record.figures["temporary_mb_per_puzzle"] / 1e3
    assert record.figures["total_gb"] == pytest.approx(expected)


@pytest.mark.slow
def test_scaling(tmp_path: Path):
    """In a process of its own: it sets the number of devices before JAX starts."""
    out = tmp_path / "scaling.jsonl"
    command = [sys.executable, SCRIPTS / "benchmark", "scaling", "quickstart", *SET_TINY, "--steps", "2"]
    command += ["--size", "devices", "--json", out]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run(command, check=True, env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True)
    records = read_records(out)
    assert [record.case["value"] for record in records] == [1, 2, 4]
    assert all(record.figures["seconds"]["n"] == 2 for record in records)
    one, *more = records
    # Each device has its share of the batch, and all exchange gradients.
    assert all(record.figures["temporary_mb_per_device"] < one.figures["temporary_mb_per_device"] for record in more)
    assert all(record.figures["collective_mb"] > 0 for record in more)


@pytest.mark.slow
def test_data(tmp_path: Path, capsys: pytest.CaptureFixture):
    arguments = ["data", "--puzzles", 5, "--num-aug", 2, "--batch-size", 4, "--batches", 3]
    records = measure(capsys, tmp_path / "data.jsonl", *arguments)
    assert [record.case["builder"] for record in records[:2]] == ["Sudoku", "Sudoku, online"]
    assert [record.case["loader"] for record in records[2:]] == ["Sudoku", "Sudoku, online"]
    # 500 bundled test puzzles, and 5 puzzles with 2 augmentations each, or none.
    assert [record.figures["examples"] for record in records[:2]] == [5 * 3 + 500, 5 + 500]
    assert all(record.figures["peak_memory_mb"] > 20 for record in records[:2])
    assert all(record.figures["batches_per_second"] > 0 for record in records[2:])


@pytest.mark.slow
def test_solver(tmp_path: Path, capsys: pytest.CaptureFixture, puzzle_dir: Path, puzzle_weights: Path):
    arguments = ["solver", puzzle_weights, "--data", puzzle_dir, "--steps", 2, "--slots", 4, "--repeats", 2]
    records = measure(capsys, tmp_path / "solver.jsonl", *arguments)
    steps = {record.case["way"]: record.figures["steps_per_puzzle"] for record in records}
    assert len(records) == 8
    assert steps["always 2 steps"] == 2
    assert all(0 <= record.figures["solved"] <= record.figures["puzzles"] == 10 for record in records)
    assert all(record.figures["seconds"]["n"] == 2 for record in records)


@pytest.fixture
def puzzle_weights(puzzle_dir: Path, tmp_path: Path) -> Path:
    """Return untrained weights for the 4x4 Sudokus of `puzzle_dir`."""
    config, metadata = tiny_config(), read_puzzle_set(puzzle_dir, "train").metadata
    weights = trained_weights(fetch(make_state(config, metadata, make_mesh(1))))
    path = tmp_path / "weights.safetensors"
    save(path, weights, Description("weights", config, metadata, step=1, averaged=True))
    return path


def test_programs_take_turns():
    order = []
    programs = {name: partial(lambda name: order.append(name) or len(order), name) for name in "ab"}
    assert take_turns(programs, 3) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert order == list("ababab")


@pytest.mark.slow
def test_comparison(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """With a stand-in for the process that runs the original: its answers are known numbers."""

    class StandIn:
        def __init__(self, clone: Path, *arguments: object, device: str, compiled: bool):
            self.build_seconds, self.compiled, self.taken = 100.0, compiled, 0

        def step(self, name: str) -> float:
            self.taken += 1
            return self.taken + (0.5 if self.compiled else 0)

        def close(self) -> None:
            pass

    clone = tmp_path / "clone"
    (clone / "models").mkdir(parents=True)
    (clone / "models" / "losses.py").touch()
    monkeypatch.setattr(comparison, "Original", StandIn)
    monkeypatch.setattr(peak, "_REPEATS", 2)
    monkeypatch.setattr(records, "version", lambda name: "0")
    arguments = ["step", "sudoku_mlp", *SET_TINY, "--devices", 1, "--repeats", 3, "--against", clone]
    alone, ours, eager, compiled = measure(capsys, tmp_path / "step.jsonl", *arguments)
    assert [record.benchmark for record in (alone, ours, eager, compiled)] == ["step"] + ["comparison"] * 3
    programs = [record.case["program"] for record in (ours, eager, compiled)]
    assert programs == ["ours", "original", "compiled original"]
    # Five steps of training, then five of evaluation; the first two of each warm up.
    assert eager.figures["train_seconds"] == {"median": 4, "min": 3, "max": 5, "n": 3}
    assert compiled.figures["evaluate_seconds"] == {"median": 9.5, "min": 8.5, "max": 10.5, "n": 3}
    assert eager.figures["first_20_train_steps_seconds"] == 100 + 1 + 2 + 18 * 4
    assert ours.figures["train_seconds"]["n"] == 3
    assert "torch" in ours.versions
