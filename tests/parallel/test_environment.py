"""An environment that would change numbers or types: the program does right and says so, or stops with one line."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import tiny_config

import trm
from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights
from trm.cli.main import main
from trm.model.weights import Weights
from trm.parallel.environment import GPU_FLAGS, SETTLED, make_deterministic, settle_environment, settled
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.show.console import replace_characters
from trm.solving.trained_model import TrainedModel
from trm.training.run import train
from trm.training.state import make_state


def run_with(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "trm", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        timeout=300,
    )


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_ENABLE_X64", "1"),
        ("JAX_ENABLE_X64", "maybe"),
        ("JAX_TRANSFER_GUARD", "disallow"),
        ("JAX_DEFAULT_PRNG_IMPL", "rbg"),
        ("JAX_THREEFRY_PARTITIONABLE", "0"),
        ("JAX_DISABLE_JIT", "true"),
    ],
)
def test_what_would_change_numbers_is_ignored_and_said(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, value)
    lines = settle_environment()
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}={value}: ignored: ")
    assert name not in os.environ


@pytest.mark.usefixtures("no_settings")
def test_what_changes_nothing_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "JAX_ENABLE_X64": "0",
        "JAX_TRANSFER_GUARD": "allow",
        "JAX_THREEFRY_PARTITIONABLE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert settle_environment() == []
    assert os.environ["JAX_ENABLE_X64"] == "0"
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    assert settle_environment() == [
        "JAX_DEFAULT_MATMUL_PRECISION=highest: changes the numbers; a run that is resumed needs it again"
    ]
    assert os.environ["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"


def test_the_settings_are_those_of_jax():
    for name, (expected, _) in SETTLED.items():
        assert getattr(jax.config, name) == expected


@pytest.mark.slow
def test_a_run_in_a_program_of_64_bits_is_the_run_in_one_of_32(
    puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 1, "eval_interval": 1})
    train(config, tmp_path / "plain", make_mesh(1))
    capsys.readouterr()
    jax.config.update("jax_enable_x64", True)
    try:
        with jax.enable_x64(True):
            train(config, tmp_path / "wide", make_mesh(1))
            # The user's program has its own setting back.
            assert np.asarray(jax.numpy.zeros(1)).dtype == np.float64
    finally:
        jax.config.update("jax_enable_x64", False)
    assert "warning: jax_enable_x64=True: switched off for now" in capsys.readouterr().out
    weights = [load_weights(tmp_path / run / "weights.safetensors")[0] for run in ("plain", "wide")]
    for a, b in zip(*map(jax.tree.leaves, weights), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_model_solves_in_a_program_of_64_bits_as_in_one_of_32(splits: dict[str, PuzzleSet]):
    puzzle = splits["test"].sets["all"].inputs[:1].astype(np.int32)
    weights = make_state(tiny_config(), splits["train"].metadata, make_mesh(1)).model
    model = TrainedModel(
        Weights(weights, np.zeros((1, 16), np.float32)),
        Description("weights", tiny_config(), splits["train"].metadata, 0, averaged=False),
    )
    answers = [np.asarray(leaf) for leaf in jax.tree.leaves(model.reason(puzzle, steps=2))]
    with jax.enable_x64(True):
        wide = [np.asarray(leaf) for leaf in jax.tree.leaves(model.reason(puzzle, steps=2))]
        assert trm.load("maze").weights.puzzle_table.dtype == np.float32
    for a, b in zip(answers, wide, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_settings_come_back():
    """Those of the whole program for all threads, those of one thread for that one."""

    def in_a_thread() -> str | None:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: jax.config.values["jax_transfer_guard"]).result()

    with jax.transfer_guard("disallow"), jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.disable_jit():
        with settled() as lines:
            assert not differing()
        assert differing() == {"jax_transfer_guard", "jax_enable_x64", "jax_default_prng_impl", "jax_disable_jit"}
        assert in_a_thread() is None
    assert len(lines) >= 4
    assert not differing()
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        with settled() as lines:
            assert in_a_thread() is None
        assert in_a_thread() == "disallow"
    finally:
        jax.config.update("jax_transfer_guard", None)
    assert any(line.startswith("jax_transfer_guard=disallow: switched off") for line in lines)
    with settled() as lines:
        assert lines == []


def differing() -> set[str]:
    values = jax.config.values
    # A guard has three parts, which are one here.
    return {n for n, (expected, _) in SETTLED.items() if values[n] not in (expected, "allow") and "_to_" not in n}


def test_deterministic_adds_the_flag_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    make_deterministic()
    make_deterministic()
    assert os.environ["XLA_FLAGS"] == f"--xla_force_host_platform_device_count=4 {GPU_FLAGS}"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "value"), [("JAX_PLATFORMS", "cuda"), ("JAX_PLATFORMS", "gpu"), ("JAX_NUMPY_RANK_PROMOTION", "bogus")]
)
def test_devices_that_are_not_there_and_bad_values(name: str, value: str, tmp_path: Path):
    done = run_with({name: value}, "train", "sudoku_mlp", "-o", tmp_path / "run")
    err = done.stderr.decode()
    assert done.returncode == 2, err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert name.lower() in err.lower()
    assert value in err


@pytest.mark.slow
@pytest.mark.processes
def test_settings_of_the_environment_train_and_can_be_read(puzzle_dir: Path, tmp_path: Path):
    environment = {"JAX_ENABLE_X64": "1", "JAX_TRANSFER_GUARD": "disallow", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    settings = [f"data.path={puzzle_dir}", "train.epochs=1", "train.eval_interval=1", "model.hidden_size=64"]
    settings += [
        "model.forward_dtype=float32",
        "model.H_cycles=1",
        "model.L_cycles=1",
        "halting.halt_max_steps=2",
        "train.global_batch_size=8",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    done = run_with(environment, "train", "quickstart", *options, "-o", tmp_path / "run", "--deterministic")
    err = done.stderr.decode()
    assert done.returncode == 0, err
    assert [line.partition("=")[0] for line in err.splitlines()] == [
        "warning: JAX_ENABLE_X64",
        "warning: JAX_TRANSFER_GUARD",
    ]
    weights, _ = load_weights(tmp_path / "run" / "weights.safetensors")
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp1252"])
def test_an_output_that_lacks_characters(encoding: str, monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    replace_characters()
    print("5 · 3 │ é → ▓ 數")
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert len(shown) == len("5 · 3 │ é → ▓ 數\n")
    assert shown.startswith("5 ")
    if encoding == "ascii":
        assert shown == "5 . 3 | e > ? ?\n"


def test_help_in_ascii(monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["trm", "train", "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    sys.stdout.flush()
    assert b"Run folder" in raw.getvalue()
