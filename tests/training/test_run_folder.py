"""A run folder under stress: two trainers, damaged checkpoints, signals, a removed folder, changed settings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config
from rich.console import Console

from trm.checkpoints.describe import describe
from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.storage.safetensors import read_safetensors, write_safetensors
from trm.training import evaluator
from trm.training.checkpoints import list_checkpoints, newest_checkpoint
from trm.training.experiment import config as read_experiment
from trm.training.run import Outcome, train
from trm.training.signals import Stopped, StopRequest, catch_signals
from trm.training.tracking.measured import is_measured


@pytest.fixture(scope="module")
def whole(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a configuration and its run of 15 steps, with checkpoints at 12 and 15, evaluated at 7 and 15."""
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 4})
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config, run, make_mesh(1))
    return config, run


def go_on(config: Config, run: Path, **options: Any) -> tuple[Outcome, str]:
    """Resume a run; return how it ended and what it printed."""
    console = Console(file=StringIO(), width=1000)
    outcome = train(config, run, make_mesh(1), resume=True, console=console, **options)
    assert isinstance(console.file, StringIO)
    return outcome, console.file.getvalue()


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """Return the lines of the metrics file without what is measured of the machine."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not is_measured(name)} for line in lines]


def assert_same(run: Path, whole: Path) -> None:
    """Compare the numbers of two runs, bit for bit."""
    assert metrics_of(run) == metrics_of(whole)
    for name in ("weights.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def flip_digit(*names: str) -> Callable[[Path], None]:
    """Return what flips the last bit of the first digit of a number in the header: a number it stays."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = 0
        for name in names:
            at = data.index(f'\\"{name}\\": '.encode(), at)
        at += next(i for i, byte in enumerate(data[at:]) if chr(byte).isdigit())
        data[at] ^= 1
        assert chr(data[at]).isdigit()
        path.write_bytes(data)

    return damage


@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip, flip_digit("step"), flip_digit("best", "score"), flip_digit("seed"), flip_digit("arrays")],
    ids=["truncated", "empty", "number", "step", "best score", "seed", "checksum"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: tuple[Config, Path], damage: Callable[[Path], None], tmp_path: Path
):
    config, folder = whole
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "weights.safetensors").unlink()
    newest = run / "checkpoints" / "step_15.safetensors"
    damage(newest)
    outcome, printed = go_on(config, run)
    assert outcome.step == 15
    (line,) = (line for line in printed.splitlines() if "renamed" in line)
    assert line.startswith(f"{newest}: ")
    assert line.endswith("renamed to step_15.safetensors.damaged, going back to step_12.safetensors")
    assert (run / "checkpoints" / "step_15.safetensors.damaged").exists()
    assert_same(run, folder)


def test_nothing_is_renamed_where_no_checkpoint_is_whole(whole: tuple[Config, Path], tmp_path: Path):
    config, folder = whole
    run = shutil.copytree(folder, tmp_path / "run")
    for path in list_checkpoints(run):
        empty(path)
    with pytest.raises(InputError, match=r"step_15\.safetensors: not a whole safetensors file"):
        go_on(config, run)
    assert [path.name for path in list_checkpoints(run)] == ["step_12.safetensors", "step_15.safetensors"]


def test_a_checkpoint_of_a_later_format_is_no_damage(whole: tuple[Config, Path], tmp_path: Path):
    config, folder = whole
    run = shutil.copytree(folder, tmp_path / "run")
    newest = newest_checkpoint(run)
    assert newest is not None
    arrays, text = read_safetensors(newest)
    write_safetensors(newest, arrays, {"trm": text["trm"].replace('"trm 3"', '"trm 99"')})
    with pytest.raises(InputError, match="format: found 'trm 99'"):
        go_on(config, run)
    assert newest.exists()


def test_two_trainers(whole: tuple[Config, Path], capsys: pytest.CaptureFixture, tmp_path: Path):
    """The second ends in one line; the first does not notice."""
    config, folder = whole
    run, path = tmp_path / "run", tmp_path / "config.toml"
    path.write_text(config_to_toml(config))
    # The first waits in a step until the second has ended.
    code = (
        "import sys, time, pathlib; from trm.training.run import train; "
        "from trm.configuration.reading import read_config; "
        "from trm.parallel.mesh import make_mesh; go = pathlib.Path(sys.argv[3]);\n"
        "def wait(line):\n"
        "    while line['step'] == 5 and not go.exists(): time.sleep(0.01)\n"
        "train(read_config(sys.argv[1]), sys.argv[2], make_mesh(1), hooks=[wait])"
    )
    command = [sys.executable, "-c", code, str(path), str(run), str(tmp_path / "go")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and (not (run / "metrics.jsonl").exists() or len(metrics_of(run)) < 5):
            time.sleep(0.01)
        for options in ([], ["--resume"]):
            arguments = ["train", str(path), "--out", str(run), *options]
            check_mistake(capsys, arguments, f"locked by process {process.pid} on")
        (tmp_path / "go").touch()
        assert process.wait(timeout=120) == 0, process.communicate()
    assert_same(run, folder)


# The configuration


def without_end(run: Path) -> None:
    """Remove the last checkpoint, so that a resumed run has steps to make, and what was written after it."""
    list_checkpoints(run)[-1].unlink()
    (run / "weights.safetensors").unlink()


@pytest.mark.parametrize("harm", [Path.unlink, empty], ids=["deleted", "empty"])
@pytest.mark.parametrize("newest_is_whole", [True, False])
def test_a_lost_configuration_is_read_from_the_newest_good_checkpoint(
    harm: Callable[[Path], None],
    newest_is_whole: bool,
    whole: tuple[Config, Path],
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
):
    run = tmp_path / "run"
    shutil.copytree(whole[1], run)
    without_end(run)
    before, checkpoint = (run / "config.toml").read_bytes(), list_checkpoints(run)[-1]
    if not newest_is_whole:
        (run / "checkpoints" / "step_14.safetensors").write_bytes(checkpoint.read_bytes()[:5000])
    harm(run / "config.toml")
    found = "no file" if harm is Path.unlink else "an empty file"
    line = f"warning: {run}/config.toml: found {found}; the configuration is read from step_12.safetensors\n"

    # Reading changes nothing.
    for command in (["info", run], ["plot", run, "-o", tmp_path / "curves.svg"], ["config", "show", run]):
        code, out, err = run_trm(capsys, *command)
        assert (code, err) == (0, line), command
    assert str(checkpoint) in out
    assert not (run / "config.toml").exists() or (run / "config.toml").read_bytes() == b""
    with pytest.warns(UserWarning, match="the configuration is read from"):
        assert read_experiment(run) == whole[0]

    code, out, err = run_trm(capsys, "train", run, "--resume", "--devices", 1)
    assert (code, err) == (0, line)
    assert (run / "config.toml").read_bytes() == before
    assert_same(run, whole[1])


def test_a_damaged_configuration_is_not_overwritten(
    whole: tuple[Config, Path], capsys: pytest.CaptureFixture, tmp_path: Path
):
    """It may have been edited by hand: the error says what would help."""
    run = tmp_path / "run"
    shutil.copytree(whole[1], run)
    without_end(run)
    path = run / "config.toml"
    text = path.read_text()
    for damaged in ("[train\n", text + "learning_rate = 1\n", text[: text.index("epochs =") + 8], "\0" * 100):
        path.write_text(damaged)
        for command in (["train", run, "--resume"], ["info", run], ["plot", run, "-o", tmp_path / "a.svg"]):
            check_mistake(capsys, list(map(str, command)), f"error: {path}: ")
            code, _, err = run_trm(capsys, *command)
            assert err.endswith("mend the file, or remove it to read the configuration from step_12.safetensors\n")
        assert path.read_text() == damaged
    # A setting that is wrong is no fault of the file.
    code, _, err = run_trm(capsys, "train", run, "--resume", "--set", "train.epoch=1")
    assert code == 2
    assert "remove it" not in err

    # Cut between two keys, the file can be read, as another experiment.
    path.write_text(text[: text.index("[optimizer]")])
    check_mistake(capsys, ["train", str(run), "--resume", "--devices", "1"], "where config.toml is missing")


def test_a_folder_without_configuration_and_checkpoints(capsys: pytest.CaptureFixture, tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    for command in ("train", "plot"):
        code, _, err = run_trm(capsys, command, tmp_path)
        assert code == 2
        assert f"error: {tmp_path}: " in err
    # Of a checkpoint that says nothing, no configuration comes.
    (tmp_path / "checkpoints" / "step_1.safetensors").write_bytes(b"")
    check_mistake(capsys, ["train", str(tmp_path), "--resume"], f"error: {tmp_path}/config.toml: cannot read")


# The folder


def test_a_run_folder_that_was_removed_is_made_anew(whole: tuple[Config, Path], tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"

    def remove(line: dict[str, Any]) -> None:
        if line["step"] == 5:
            shutil.rmtree(run)

    outcome, printed = go_on(config, run, hooks=[remove])
    assert f"warning: {run}: the run folder was removed; it is created again" in printed
    assert printed.count("is created again") == 1
    assert outcome.step == 15
    assert (run / "config.toml").read_bytes() == (folder / "config.toml").read_bytes()
    assert (run / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    # Lines wait until the folder is there again, and that is at the next evaluation.
    assert metrics_of(run) == [line for line in metrics_of(folder) if line["step"] > 5]
    assert not (run / ".lock").exists()


@pytest.mark.slow
def test_a_signal_in_an_evaluation(whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The evaluation ends after the batch under way, and is made when the run goes on."""
    config, folder = whole
    run = tmp_path / "run"
    batches = []
    evaluate = evaluator.evaluate_every_step

    def interrupted(*arguments: Any) -> Any:
        step, weights, puzzles, batch_size, mesh, on_answers = arguments

        def see(batch: Any) -> None:
            batches.append(batch)
            os.kill(os.getpid(), signal.SIGTERM)
            on_answers(batch)

        return evaluate(step, weights, puzzles, batch_size, mesh, see)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "evaluate_every_step", interrupted)
        outcome, _ = go_on(config, run)
    # The test set makes two batches.
    assert len(batches) == 1
    assert (outcome.step, outcome.signal, outcome.reports) == (7, signal.SIGTERM, {})
    assert outcome.stopped == "SIGTERM at step 7; go on with --resume"
    assert outcome.weights_path is None
    assert not (run / "weights.safetensors").exists()
    assert not [line for line in metrics_of(run) if "all/accuracy" in line]
    newest = newest_checkpoint(run)
    assert newest is not None
    assert describe(newest)[0].evaluation_due
    # A crash in the evaluation that follows leaves its lines behind; they are written once.
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 7, "all/accuracy": 0.5}) + "\n")
    go_on(config, run)
    assert_same(run, folder)


def test_a_signal_while_compiling():
    # Stands for a compiler that takes minutes.
    end = threading.Event()
    began = time.monotonic()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    with catch_signals() as stop:
        timer.start()
        with pytest.raises(Stopped):
            stop.wait_for(lambda: end.wait(60))
    assert stop.name == "SIGTERM"
    assert time.monotonic() - began < 10
    end.set()


def test_an_error_of_the_compiler_is_raised_where_it_is_waited_for():
    def compile() -> None:
        raise FloatingPointError("broken")

    with catch_signals() as stop, pytest.raises(FloatingPointError, match="broken"):
        stop.wait_for(compile)


def test_a_run_that_is_stopped_while_it_compiles_leaves_its_checkpoints_as_they_are(
    whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, folder = whole
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "checkpoints" / "step_15.safetensors").unlink()

    def stopped(self: StopRequest, _: Any) -> None:
        self.number = signal.SIGINT
        raise Stopped

    monkeypatch.setattr(StopRequest, "wait_for", stopped)
    before = (run / "checkpoints" / "step_12.safetensors").stat().st_mtime_ns
    outcome, _ = go_on(config, run)
    assert (outcome.step, outcome.signal) == (12, signal.SIGINT)
    assert [path.name for path in list_checkpoints(run)] == ["step_12.safetensors"]
    assert list_checkpoints(run)[0].stat().st_mtime_ns == before


def test_an_interrupt_while_the_program_starts():
    code = (
        "import importlib.abc, os, signal, sys\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'jax': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from trm.__main__ import main\n"
        "sys.argv = ['trm', 'train', 'sudoku_mlp']\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.slow
def test_neutral_settings_may_change_when_a_run_goes_on(whole: tuple[Config, Path], puzzle_dir: Path, tmp_path: Path):
    config, folder = whole
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "checkpoints" / "step_15.safetensors").unlink()
    other = tiny_config(
        data={"path": str(puzzle_dir)},
        model={"remat": True, "unroll": True},
        train={"checkpoint_interval_steps": 4, "microbatches": 2},
    )
    _, printed = go_on(other, run)
    says = "model.remat, model.unroll, train.microbatches: changed; the numbers are the same within rounding"
    assert says in printed
    found, expected = (read_safetensors(path / "weights.safetensors")[0] for path in (run, folder))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        # Three steps of float32 in another order.
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-6, err_msg=name)
    # And back.
    _, printed = go_on(config, run)
    assert says in printed
    bfloat16 = tiny_config(data={"path": str(puzzle_dir)}, model={"forward_dtype": "bfloat16"})
    with pytest.raises(InputError, match=r"model\.forward_dtype: found 'bfloat16', expected 'float32', as in"):
        go_on(bfloat16, run)
