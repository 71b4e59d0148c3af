"""Saving during a run: the wait of the loop, the moments when a checkpoint is due, and its content."""

import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import tiny_config
from rich.console import Console

from trm.checkpoints.description import Description
from trm.configuration.schema import Config, TrainConfig
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.training import checkpoints
from trm.training.checkpoints import list_checkpoints
from trm.training.run import train
from trm.training.saving import manager as manager_module
from trm.training.saving.manager import CheckpointManager
from trm.training.saving.writer import SAVE_THREAD, Writer


@pytest.fixture(scope="module")
def whole(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a configuration and its run, all of whose checkpoints are kept."""
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 4, "keep_checkpoints": 99})
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config, run, make_mesh(1))
    assert [path.name for path in list_checkpoints(run)] == [f"step_{n}.safetensors" for n in (4, 7, 8, 12, 15)]
    return config, run


def quiet() -> Console:
    return Console(file=StringIO(), width=1000)


def slow_save(before: Callable[[Description], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a function on the writer's thread before each checkpoint is written."""
    save = checkpoints.save_state

    def slow(path: Path, state: Any, description: Description) -> None:
        before(description)
        save(path, state, description)

    monkeypatch.setattr(checkpoints, "save_state", slow)


def test_the_loop_goes_on_while_a_checkpoint_is_written(
    whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The file holds the state of its step, though later steps have updated the device's arrays in place."""
    config, folder = whole
    go, seen = threading.Event(), []

    def wait(description: Description) -> None:
        assert threading.current_thread().name == SAVE_THREAD
        assert description.step != 4 or go.wait(60)

    def on_metrics(line: dict[str, Any]) -> None:
        if line["step"] == 6:
            seen.extend(list_checkpoints(tmp_path))
            go.set()

    slow_save(wait, monkeypatch)
    train(config, tmp_path, make_mesh(1), hooks=[on_metrics], console=quiet())
    assert go.is_set()
    assert not seen
    assert len(list_checkpoints(tmp_path)) == 5
    for path in list_checkpoints(tmp_path):
        assert path.read_bytes() == (folder / "checkpoints" / path.name).read_bytes()
    assert (tmp_path / "best.safetensors").read_bytes() == (folder / "best.safetensors").read_bytes()


def test_one_save_is_under_way_at_most(whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config, _ = whole
    threads = []

    def count(_: Description) -> None:
        threads.append(sum(thread.name == SAVE_THREAD for thread in threading.enumerate()))
        time.sleep(0.2)

    slow_save(count, monkeypatch)
    train(config, tmp_path, make_mesh(1), console=quiet())
    assert threads == [1] * 5
    assert not any(thread.name == SAVE_THREAD for thread in threading.enumerate())


def test_an_error_of_the_writer_reaches_the_loop(
    whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, _ = whole
    steps: list[int] = []

    def broken(description: Description) -> None:
        raise ZeroDivisionError("broken")

    slow_save(broken, monkeypatch)
    with pytest.raises(ZeroDivisionError, match="broken"):
        train(config, tmp_path, make_mesh(1), hooks=[lambda line: steps.append(line["step"])], console=quiet())
    # At the next contact, and that is at the save at step 7 at the latest.
    assert steps
    assert steps[-1] <= 7


def test_an_exception_waits_for_the_writer(whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config, folder = whole

    class Broken(BaseException):
        """Ends the run at once, as an interrupt does."""

    def end(line: dict[str, Any]) -> None:
        if line["step"] == 5:
            raise Broken

    slow_save(lambda _: time.sleep(0.5), monkeypatch)
    with pytest.raises(Broken):
        train(config, tmp_path, make_mesh(1), hooks=[end], console=quiet())
    (path,) = list_checkpoints(tmp_path)
    assert path.read_bytes() == (folder / "checkpoints" / "step_4.safetensors").read_bytes()


def test_checkpoints_by_time_change_no_number(whole: tuple[Config, Path], puzzle_dir: Path, tmp_path: Path):
    _, folder = whole
    rules = {"checkpoint_interval_minutes": 1e-9, "keep_checkpoints": 99}
    config = tiny_config(data={"path": str(puzzle_dir)}, train=rules)
    train(config, tmp_path, make_mesh(1), console=quiet())
    # Not at each step, as one save is under way at most, but more often than at the evaluations.
    assert len(list_checkpoints(tmp_path)) > 3
    found, expected = (
        checkpoints.load_state(run / "checkpoints" / "step_15.safetensors")[0] for run in (tmp_path, folder)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_when_a_checkpoint_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = 1000.0
    monkeypatch.setattr(manager_module.time, "monotonic", lambda: clock)

    def due(rules: TrainConfig, seconds: list[float]) -> list[bool]:
        nonlocal clock
        clock = 1000.0
        manager = CheckpointManager(tmp_path, rules, 0, lambda: None, lambda _: None)
        answers = []
        for step, at in enumerate(seconds, 1):
            clock = 1000 + at
            answers.append(manager.is_due(step))
        return answers

    assert due(TrainConfig(), [1, 899, 901]) == [False, False, True]
    assert due(TrainConfig(checkpoint_interval_minutes=0.0), [1, 1e9]) == [False, False]
    assert due(TrainConfig(checkpoint_interval_minutes=0.5, checkpoint_interval_steps=2), [1, 2, 3, 4, 31]) == [
        False, True, False, True, True
    ]  # fmt: skip


def test_the_writer_tells_what_could_not_be_written_and_raises_the_rest():
    writer = Writer()

    def fail(error: BaseException) -> None:
        raise error

    assert writer.take_failure() is None
    writer.start(lambda: fail(InputError("no room")))
    writer.wait()
    assert str(writer.take_failure()) == "no room"
    assert writer.take_failure() is None
    writer.start(lambda: fail(KeyError("broken")))
    writer.wait()
    with pytest.raises(KeyError, match="broken"):
        writer.take_failure()
