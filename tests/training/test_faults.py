"""Faults of long runs, each injected during a run: the run goes on, or ends in one line, and loses nothing."""

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from conftest import tiny_config
from rich.console import Console
from test_run_folder import assert_same, metrics_of

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.loader import TrainLoader
from trm.training import run as run_module
from trm.training.checkpoints import list_checkpoints, newest_checkpoint
from trm.training.run import Outcome, train
from trm.training.saving import manager
from trm.training.signals import catch_signals
from trm.training.state import load_state


class Broken(BaseException):
    """Ends the run at once, as an interrupt does."""


@pytest.fixture(scope="module")
def whole(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Return a configuration and its run of 15 steps, saved at all even ones, evaluated at 2, 5, 7, 10, 12 and 15."""
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 2, "eval_interval": 1})
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config, run, make_mesh(1))
    return config, run


def go_on(config: Config, run: Path, *hooks: Callable[[dict], None], **options: Any) -> tuple[Outcome, list[str]]:
    """Resume a run, or begin it; return how it ended and the lines it printed."""
    console = Console(file=StringIO(), width=1000)
    outcome = train(config, run, make_mesh(1), resume=True, console=console, hooks=hooks, **options)
    assert isinstance(console.file, StringIO)
    return outcome, console.file.getvalue().splitlines()


def between(first: int, last: int, begin: Callable[[], None], end: Callable[[], None]) -> Callable[[dict], None]:
    """Return a hook that injects a fault after one step and ends it after another."""

    def on_metrics(line: dict[str, Any]) -> None:
        if "train/lm_loss" in line and line["step"] == first:
            begin()
        if "train/lm_loss" in line and line["step"] == last:
            end()

    return on_metrics


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """Return functions that fill the disk and make room.

    The system itself refuses: files larger than those that are there cannot be written, nor can these grow.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run" / "metrics.jsonl").stat().st_size + 5, hard))

    def clear() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield fill, clear
    clear()


def test_a_full_disk(whole: tuple[Config, Path], full_disk: Any, tmp_path: Path):
    """Training goes on, warns at every try, keeps the last good checkpoint and saves again; no line is lost."""
    config, folder = whole
    run, held = tmp_path / "run", []

    def look(line: dict[str, Any]) -> None:
        if line["step"] == 9 and "train/lm_loss" in line:
            held.extend(path.name for path in list_checkpoints(run))
            load_state(run / "checkpoints" / held[-1])

    outcome, printed = go_on(config, run, look, between(5, 9, *full_disk))
    assert outcome.step == 15
    # What was saved up to step 4; step 5 was under way when the disk became full.
    assert held[-1] in ("step_4.safetensors", "step_5.safetensors")
    warnings = [line for line in printed if line.startswith("warning: no checkpoint: ")]
    for step in ("step_6", "step_8"):
        assert any(f"checkpoints/{step}.safetensors: cannot write: " in line for line in warnings) or any(
            "best.safetensors: cannot write: " in line for line in warnings
        )
    assert len(warnings) in (3, 4)
    (line,) = (line for line in printed if line.startswith("warning: JsonLines: "))
    assert "metrics.jsonl: cannot write: File too large; the run goes on" in line.replace(
        "No space left on device", "File too large"
    )
    assert_same(run, folder)
    assert [path.name for path in list_checkpoints(run)] == [path.name for path in list_checkpoints(folder)]


@pytest.mark.slow
def test_a_kill_while_the_disk_is_full(whole: tuple[Config, Path], full_disk: Any, tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"
    fill, clear = full_disk

    def kill() -> None:
        raise Broken

    with pytest.raises(Broken):
        go_on(config, run, between(5, 9, fill, kill))
    clear()
    outcome, printed = go_on(config, run)
    assert outcome.step == 15
    assert any(line.startswith(f"resuming from {run}/checkpoints/step_") for line in printed)
    assert_same(run, folder)


@pytest.mark.slow
def test_a_disk_that_stays_full_ends_in_one_line(whole: tuple[Config, Path], full_disk: Any, tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"
    fill, clear = full_disk
    with pytest.raises(InputError, match=r"(best|weights)\.safetensors: cannot write: "):
        go_on(config, run, between(5, -1, fill, clear))
    clear()
    go_on(config, run)
    assert_same(run, folder)


@pytest.mark.slow
def test_a_signal_while_the_disk_is_full(whole: tuple[Config, Path], full_disk: Any, tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"
    fill, clear = full_disk
    outcome, _ = go_on(config, run, between(5, 8, fill, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert outcome.signal == signal.SIGTERM
    clear()
    go_on(config, run)
    assert_same(run, folder)


def test_a_folder_that_may_not_be_written_to_for_a_while(whole: tuple[Config, Path], tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"
    user = os.geteuid()

    def lock() -> None:
        for path in (run, run / "checkpoints"):
            path.chmod(0o555)
        if user == 0:
            # The superuser may write anywhere.
            os.seteuid(65534)

    def unlock() -> None:
        os.seteuid(user)
        for path in (run, run / "checkpoints"):
            path.chmod(0o755)

    try:
        outcome, printed = go_on(config, run, between(5, 9, lock, unlock))
    finally:
        unlock()
    assert outcome.step == 15
    assert any("warning: no checkpoint: " in line for line in printed)
    assert_same(run, folder)


class FailingOutput(StringIO):
    """An output that fails for a while, as those of the system do."""

    error: OSError | None = None

    def write(self, text: str) -> int:
        if self.error:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("lasts", [True, False], ids=["closed pipe", "full disk"])
def test_an_output_that_fails_ends_no_run(
    lasts: bool, whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, folder = whole
    output = FailingOutput()
    # At a closed pipe rich redirects standard output: here that is pytest's.
    monkeypatch.setattr(os, "dup2", lambda *_: None)

    def begin() -> None:
        output.error = BrokenPipeError(32, "Broken pipe") if lasts else OSError(28, "No space left on device")

    def end() -> None:
        output.error = None

    # Step 5 is evaluated, and so are 7 and 10, which print a line each.
    hook = between(4, 9, begin, (lambda: None) if lasts else end)
    outcome = train(config, tmp_path / "run", make_mesh(1), console=Console(file=output, width=1000), hooks=[hook])
    assert outcome.step == 15
    printed = [line.partition(":")[0] for line in output.getvalue().splitlines() if line.startswith("step ")]
    assert printed == (["step 2"] if lasts else ["step 2", "step 10", "step 12", "step 15"])
    assert_same(tmp_path / "run", folder)


def test_a_terminal_that_is_closed(whole: tuple[Config, Path], tmp_path: Path):
    """It sends SIGHUP, and nothing can be printed any more; `nohup` has it ignored."""
    config, folder = whole
    run, output = tmp_path / "run", FailingOutput()

    def hang_up() -> None:
        output.error = OSError(5, "Input/output error")
        os.kill(os.getpid(), signal.SIGHUP)

    hook = between(9, -1, hang_up, lambda: None)
    outcome = train(config, run, make_mesh(1), console=Console(file=output, width=1000), hooks=[hook])
    assert outcome.signal == signal.SIGHUP
    assert newest_checkpoint(run) == run / "checkpoints" / f"step_{outcome.step}.safetensors"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hook = between(12, -1, lambda: os.kill(os.getpid(), signal.SIGHUP), lambda: None)
        outcome, _ = go_on(config, run, hook)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (outcome.step, outcome.signal) == (15, 0)
    assert_same(run, folder)


def test_a_save_that_failed_is_tried_again_before_the_next_evaluation(
    puzzle_dir: Path, full_disk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tiny_config(
        data={"path": str(puzzle_dir)}, train={"epochs": 12, "eval_interval": 6, "keep_checkpoints": 9}
    )
    monkeypatch.setattr(manager, "RETRY_SECONDS", 0)
    _, printed = go_on(config, tmp_path / "run", between(14, 18, *full_disk))
    assert any("no checkpoint" in line for line in printed)
    steps = [int(path.stem.removeprefix("step_")) for path in list_checkpoints(tmp_path / "run")]
    assert steps[-1] == 30
    assert 18 <= steps[0] <= 21


@pytest.mark.slow
def test_two_interrupts_end_at_once_and_lose_no_checkpoint(whole: tuple[Config, Path], tmp_path: Path):
    config, folder = whole
    run = tmp_path / "run"

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        go_on(config, run, between(9, -1, interrupt, lambda: None))
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == "step_8.safetensors"
    go_on(config, run)
    assert_same(run, folder)


def test_the_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt_twice() -> None:
        with catch_signals():
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.slow
def test_a_loader_that_fails_ends_the_run_in_one_line(
    whole: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, folder = whole
    load = TrainLoader.load

    def failing(self: TrainLoader, step: int) -> Any:
        if step == 10:
            raise OSError(5, "Input/output error")
        return load(self, step)

    # In a queue, sequences that halt at once use as many rows.
    queue = tiny_config(
        data={"path": config.data.path},
        halting={"halt_max_steps": 1, "refill": "queue"},
        train={"checkpoint_interval_steps": 2, "eval_interval": 1},
    )
    for refill, experiment in (("slot", config), ("queue", queue)):
        with monkeypatch.context() as patch:
            patch.setattr(TrainLoader, "load", failing)
            with pytest.raises(InputError) as caught:
                go_on(experiment, tmp_path / refill)
        assert str(caught.value) == "training batch 11: cannot load: OSError: [Errno 5] Input/output error"
        assert newest_checkpoint(tmp_path / refill) is not None
    go_on(config, tmp_path / "slot")
    assert_same(tmp_path / "slot", folder)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes a step's loss and weights NaN, whenever the step is made, or the first time alone."""
    make = run_module.make_train_step

    def at(step: int, once: bool = False) -> None:
        attempts = 0

        def make_poisoned(*arguments: Any) -> Any:
            nonlocal attempts
            attempts += 1
            train_step = make(*arguments)
            if once and attempts > 1:
                return train_step

            def poisoned(state: Any, data: Any) -> Any:
                factor = jnp.where(state.step == step - 1, jnp.nan, 1.0)
                state, metrics = train_step(state, data)
                table = state.puzzle_table * factor
                return jax.tree.unflatten(
                    jax.tree.structure(state),
                    [table if leaf is state.puzzle_table else leaf for leaf in jax.tree.leaves(state)],
                ), metrics | {"lm_loss": metrics["lm_loss"] * factor}

            return jax.jit(poisoned, donate_argnums=0)

        monkeypatch.setattr(run_module, "make_train_step", make_poisoned)

    return at


@pytest.mark.slow
@pytest.mark.parametrize("refill", ["slot", "queue"])
def test_a_number_that_is_not_finite(refill: str, puzzle_dir: Path, tmp_path: Path, poison: Callable[..., None]):
    """The run stops, or goes back and leaves that step out; killed after that, it comes to the same end."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        # Sequences halt together, after their fourth supervision step.
        halting={"refill": refill, "halt_max_steps": 4, "act_enabled": False},
        train={"checkpoint_interval_steps": 3},
    )
    poison(9)
    with pytest.raises(FloatingPointError, match=r"step 9: lm_loss is nan; the run ends here.*step_7\.safetensors"):
        go_on(config, tmp_path / "stopped")
    outcome, printed = go_on(config, tmp_path / "rewound", on_nonfinite="rewind")
    assert outcome.step == 15
    assert "warning: step 9: lm_loss is nan; going back to step_7.safetensors and skipping step 9" in printed
    lines = [line for line in metrics_of(tmp_path / "rewound") if "all/accuracy" not in line]
    assert [line["step"] for line in lines] == list(range(1, 16))
    assert [line["step"] for line in lines if "train/skipped" in line] == [9]
    state, _ = load_state(tmp_path / "rewound" / "checkpoints" / "step_15.safetensors")
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((state.model, state.puzzle_table)))
    # Every slot begins anew after the skipped step.
    assert [line["step"] for line in lines if line.get("train/count")] == [4, 8, 13]

    def kill(line: dict[str, Any]) -> None:
        if "train/skipped" in line:
            raise Broken

    run = tmp_path / "killed"
    with pytest.raises(Broken):
        go_on(config, run, kill, on_nonfinite="rewind")
    go_on(config, run, on_nonfinite="rewind")
    assert_same(run, tmp_path / "rewound")
    # A run that was stopped there goes on with the option, to the same end.
    go_on(config, tmp_path / "stopped", on_nonfinite="rewind")
    assert_same(tmp_path / "stopped", tmp_path / "rewound")


@pytest.mark.slow
@pytest.mark.parametrize(("refill", "step", "back_to"), [("slot", 9, "step_7.safetensors"), ("queue", 2, "the start")])
def test_a_run_that_is_killed_and_resumed_skips_what_it_skipped(
    refill: str, step: int, back_to: str, puzzle_dir: Path, tmp_path: Path, poison: Callable[..., None]
):
    """Also where the numbers would be finite this time, and without the option; its checkpoints say it."""
    config = tiny_config(
        data={"path": str(puzzle_dir)},
        halting={"refill": refill, "halt_max_steps": 4},
        train={"checkpoint_interval_steps": 3},
    )
    rewound, run = tmp_path / "rewound", tmp_path / "killed"
    poison(step, once=True)
    outcome, printed = go_on(config, rewound, on_nonfinite="rewind")
    assert outcome.step == 15
    assert f"warning: step {step}: lm_loss is nan; going back to {back_to} and skipping step {step}" in printed

    def kill(line: dict[str, Any]) -> None:
        if "train/skipped" in line:
            raise Broken

    poison(step, once=True)
    with pytest.raises(Broken):
        go_on(config, run, kill, on_nonfinite="rewind")
    newest = newest_checkpoint(run)
    assert newest is not None
    _, description = load_state(newest)
    assert description.step < step
    assert description.skipped == (step,)
    _, printed = go_on(config, run)
    assert f"resuming from {newest}" in printed
    assert [line["step"] for line in metrics_of(run) if "train/skipped" in line] == [step]
    assert_same(run, rewound)


@pytest.mark.slow
def test_a_run_that_is_ruined_for_good_gives_up(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, optimizer={"lr": 1e38, "lr_warmup_steps": 0})
    lines: list[dict] = []
    with pytest.raises(FloatingPointError, match=r"step 4: .* the run ends here. The last good .*step_0\.safetensors"):
        go_on(config, tmp_path / "run", lines.append, on_nonfinite="rewind")
    assert [line["step"] for line in lines if "train/skipped" in line] == [1, 1, 2, 1, 2, 3]


def test_a_run_folder_that_goes_is_noticed_by_the_metrics(whole: tuple[Config, Path], tmp_path: Path):
    """Lines are kept until the folder is made anew, at the next checkpoint."""
    config, folder = whole
    run = tmp_path / "run"
    _, printed = go_on(config, run, between(5, -1, lambda: shutil.rmtree(run), lambda: None))
    assert any("metrics.jsonl: cannot write: it was removed" in line for line in printed) or any(
        "the run folder was removed; it is created again" in line for line in printed
    )
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(5, 16)) or sorted(set(steps)) == list(range(6, 16))
    assert (run / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
