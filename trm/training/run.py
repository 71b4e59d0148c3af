"""A training run: what enters is a configuration and a run folder, what leaves are trained weights in that folder.

    RUN/config.toml                    every value of the configuration
    RUN/metrics.jsonl                  one line per step and per evaluation
    RUN/checkpoints/step_N.safetensors the last few states, from which the run resumes
    RUN/best.safetensors               weights of the best evaluation so far
    RUN/weights.safetensors            weights at the end

The loop keeps the device busy: batches are prefetched on a thread, and the metrics of a step are fetched after the next
one is dispatched. A run that was killed at any moment resumes to the same numbers, bit for bit.
"""

import contextlib
import dataclasses
import math
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.configuration.schema import Config, config_to_tables, config_to_toml
from trm.errors import InputError
from trm.evaluation.arc import knows_tasks, pass_at, voter_for
from trm.evaluation.every_step import EvaluationStep, Report, evaluate, make_evaluation_step
from trm.parallel.mesh import fetch
from trm.puzzles.kinds.arc.grids import TEST_PUZZLES
from trm.puzzles.metadata import Metadata, PuzzleSet, read_puzzle_sets, read_shared_identifiers
from trm.storage.files import remove_leftovers, replacing
from trm.supervision.loss import divide
from trm.training.curriculum import cycles_at
from trm.training.feed import Feed, open_feed
from trm.training.start_from import WarmStart, start_from
from trm.training.state import (
    TrainState,
    check_divisible,
    load_state,
    make_state,
    save_state,
    state_shardings,
    total_steps,
    trained_weights,
)
from trm.training.step import TrainStep, make_train_step
from trm.training.tracking.metrics import MetricsLog, ProgressBar

MAY_CHANGE_ON_RESUME = {
    "data": {"path", "test_path"},
    "train": {
        "microbatches",
        "epochs",
        "eval_interval",
        "min_eval_interval",
        "checkpoint_interval_steps",
        "keep_checkpoints",
        "patience",
    },
}
"""Keys that say where the data lies, how long to train and what to keep. Of these only `epochs` changes what a step
computes, and only where the learning rate or a curriculum goes by the share of all steps that are done."""


class Outcome(NamedTuple):
    """How a run ended."""

    step: int
    reports: dict[str, Report]
    """The last evaluation, by set; empty when there was none."""
    stopped: str
    """Why it ended before the last step; empty when it did not."""
    weights_path: Path


def train(
    config: Config,
    run: str | Path,
    mesh: Mesh,
    resume: bool = False,
    console: Console | None = None,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    init: WarmStart | None = None,
) -> Outcome:
    """Train in a run folder, from the start or, with `resume`, from its newest checkpoint if it has one.

    The start is fresh weights, or those of `init`, with everything else fresh.
    `on_metrics` gets every line of the metrics file as a dictionary. SIGINT and SIGTERM save a checkpoint and return.

    Raises InputError for data or a folder that do not fit, and FloatingPointError when a loss or a gradient is not
    finite; the last good checkpoint is kept.
    """
    run = Path(run)
    console = console or Console()
    train_set, test_set = read_sets(config)
    check_divisible(config, mesh.size)
    steps = total_steps(config, train_set.metadata)
    newest = newest_checkpoint(run)
    if newest and not resume:
        raise InputError(f"{run}: already holds {newest.name}, expected a new run folder, or --resume to go on with it")
    first = jax.process_index() == 0
    if newest:
        state, best = _resume(newest, config, train_set.metadata, mesh)
        begins = f"resuming from {newest}"
    else:
        state, best = make_state(config, train_set.metadata, mesh), {}
        begins = ""
        if init:
            state = start_from(state, init, config)
            begins = f"starting from {init.path}"
    start = int(fetch(state.step))
    taken = 0 if state.rows_taken is None else int(fetch(state.rows_taken))
    if first:
        if begins:
            console.print(begins, highlight=False, markup=False, soft_wrap=True)
        remove_leftovers(run)
        remove_leftovers(run / "checkpoints")
        with replacing(run / "config.toml") as temporary:
            temporary.write_text(config_to_toml(config), encoding="utf-8")
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(MetricsLog(run / "metrics.jsonl", start, on_metrics)) if first else None
        stop_signal = stack.enter_context(_catch_signals())
        feed = stack.enter_context(open_feed(train_set, config, mesh, start, taken))
        bar = stack.enter_context(ProgressBar(console, steps, start, config.train.global_batch_size, visible=first))
        loop = _Loop(config, run, mesh, train_set, test_set, steps, state, best, taken, log, bar)
        return loop.run(feed, start, stop_signal)


def read_sets(config: Config) -> tuple[PuzzleSet, PuzzleSet]:
    """Open the puzzle sets to train on and to evaluate on.

    Raises InputError when they do not go together, or are too small for a single step.
    """
    if not config.data.path:
        raise InputError("data.path: found nothing, expected the directory of a puzzle set (--set data.path=DIR)")
    train_set = read_puzzle_sets(config.data.train_paths, "train")
    if len(config.data.train_paths) > 1:
        # Puzzles of two names would share a row of the puzzle table.
        read_shared_identifiers(config.data.train_paths)
    test_set = read_puzzle_sets(config.data.test_paths, "test")
    check_fits(test_set, train_set.metadata)
    steps, examples = total_steps(config, train_set.metadata), train_set.metadata.examples_per_epoch
    if steps < 1:
        raise InputError(
            f"train.epochs: found {config.train.epochs}, which make {steps} steps of {config.train.global_batch_size} "
            f"from {examples:g} examples an epoch, expected at least one step"
        )
    if config.train.best_metric == "pass@2" and not knows_tasks(test_set, config.data.test_paths):
        raise InputError(
            f"train.best_metric: found 'pass@2', expected a puzzle set of ARC with a {TEST_PUZZLES}: {test_set.name}"
        )
    return train_set, test_set


def check_fits(puzzles: PuzzleSet, trained_on: Metadata) -> None:
    """Raise InputError when a model trained on one puzzle set cannot read another."""
    for name in ("vocab_size", "seq_len"):
        found, expected = getattr(puzzles.metadata, name), getattr(trained_on, name)
        if found != expected:
            raise InputError(f"{puzzles.name}: {name}: found {found}, expected {expected}, as trained on")
    found, expected = puzzles.metadata.num_puzzle_identifiers, trained_on.num_puzzle_identifiers
    if found > expected:
        raise InputError(
            f"{puzzles.name}: num_puzzle_identifiers: found {found}, expected at most {expected}, as trained on"
        )


def evaluation_steps(config: Config, metadata: Metadata, steps: int) -> list[int]:
    """Return the steps after which to evaluate: the end of each interval, and the last step."""
    per_interval = config.train.eval_interval * metadata.examples_per_epoch / config.train.global_batch_size
    intervals = range(config.train.min_eval_interval + 1, int(steps / per_interval) + 1)
    return sorted({max(1, int(i * per_interval)) for i in intervals} | {steps})


def newest_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint of a run folder that has seen the most steps."""
    found = checkpoints(run)
    return found[-1] if found else None


def checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run folder, oldest first."""
    numbered = [
        (int(match[1]), path)
        for path in (run / "checkpoints").glob("step_*.safetensors")
        if (match := re.fullmatch(r"step_(\d+)", path.stem))
    ]
    return [path for _, path in sorted(numbered)]


def _resume(path: Path, config: Config, metadata: Metadata, mesh: Mesh) -> tuple[TrainState, dict[str, float]]:
    state, description = load_state(path)
    then, now = config_to_tables(description.config), config_to_tables(config)
    for section, table in then.items():
        for key in table.keys() | now[section].keys():
            found, expected = now[section].get(key), table.get(key)
            if found != expected and key not in MAY_CHANGE_ON_RESUME.get(section, ()):
                raise InputError(f"{section}.{key}: found {found!r}, expected {expected!r}, as in {path}")
    if metadata != description.metadata:
        raise InputError(f"{config.data.path}: found another puzzle set than the one that {path} was trained on")
    shardings = state_shardings(state, mesh)
    placed = jax.tree.map(
        # Every process has the whole state and gives each of its devices the part that belongs there.
        lambda leaf, sharding: jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index]),
        state,
        shardings,
    )
    return placed, description.best


class _Loop:
    """The state of a run between steps, and what happens at each."""

    def __init__(
        self,
        config: Config,
        run: Path,
        mesh: Mesh,
        train_set: PuzzleSet,
        test_set: PuzzleSet,
        steps: int,
        state: TrainState,
        best: dict[str, float],
        taken: int,
        log: MetricsLog | None,
        bar: ProgressBar,
    ):
        self._config, self._run, self._mesh = config, run, mesh
        self._metadata, self._test_set = train_set.metadata, test_set
        self._steps, self._state, self._best = steps, state, best
        self._log, self._bar = log, bar
        self._taken = taken
        self._cycles: tuple[int, int] | None = None
        self._evaluation_step: EvaluationStep = make_evaluation_step(config, mesh)
        self._evaluate_at = set(evaluation_steps(config, train_set.metadata, steps))
        self._reports: dict[str, Report] = {}
        self._pending: tuple[int, dict] | None = None

    def run(self, feed: Feed, start: int, stop_signal: list[str]) -> Outcome:
        step, saved = start, start
        # A run that ended for want of patience is at its end when it is resumed, too.
        stopped = self._out_of_patience()
        every = self._config.train.checkpoint_interval_steps
        # Whatever moves between host and device in the loop, moves because the loop says so.
        with jax.transfer_guard("disallow"):
            while step < self._steps and not stopped:
                step += 1
                self._enter_stage(step)
                self._state, metrics = self._train_step(self._state, feed(self._taken))
                self._report_pending()
                self._pending = (step, metrics)
                if step in self._evaluate_at:
                    self._report_pending()
                    stopped = self._evaluate(step)
                if stop_signal and step < self._steps and not stopped:
                    stopped = f"{stop_signal[0]} at step {step}; go on with --resume"
                if step in self._evaluate_at or stopped or (every and step % every == 0):
                    self._report_pending()
                    self._save_checkpoint(step)
                    saved = step
            if saved < step:
                self._report_pending()
                self._save_checkpoint(step)
            weights_path = self._run / "weights.safetensors"
            save(weights_path, trained_weights(self._state), self._description(step).of_weights())
        return Outcome(step, self._reports, stopped, weights_path)

    def _enter_stage(self, step: int) -> None:
        """Compile the step anew where the curriculum goes on to other cycles."""
        cycles = cycles_at(self._config, step, self._steps)
        if cycles != self._cycles:
            self._cycles = cycles
            # What it is made of holds constants, which are not the loop's.
            with jax.transfer_guard("allow"):
                self._train_step: TrainStep = make_train_step(self._config, self._metadata, self._mesh, cycles)

    def _report_pending(self) -> None:
        """Fetch, check and log the metrics of the last step that was dispatched before this one."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in fetch(metrics).items()}
        for name, value in values.items():
            if not math.isfinite(value):
                kept = newest_checkpoint(self._run)
                raise FloatingPointError(
                    f"step {step}: {name} is {value}; the run ends here. "
                    + (f"The last good checkpoint is {kept}." if kept else "There is no checkpoint before this step.")
                )
        self._taken += int(values.get("rows", 0))
        per_step = ("lr", "gradient_norm", "parameter_norm", "rows")
        extra = {name: values.pop(name) for name in per_step if name in values}
        values = {"count": values["count"]} | divide(values, self._config.train.global_batch_size) | extra
        self._bar.advance(step, values)
        if self._log:
            self._log.write({"step": step} | {f"train/{name}": value for name, value in values.items()})

    def _evaluate(self, step: int) -> str:
        """Evaluate, keep the weights if they are the best so far; return why to stop, or nothing."""
        weights = trained_weights(self._state)
        batch_size = self._config.train.global_batch_size
        voter = voter_for(self._test_set, self._config.data.test_paths)
        self._reports = evaluate(
            self._evaluation_step, weights, self._test_set, batch_size, self._mesh, voter.see if voter else None
        )
        for name, report in self._reports.items():
            if self._log:
                self._log.write({"step": step} | {f"{name}/{key}": value for key, value in report.metrics.items()})
            self._bar.print(
                f"step {step}: {name}: exact accuracy {report.metrics['exact_accuracy']:.4f}, "
                f"token accuracy {report.metrics['accuracy']:.4f} on {report.examples} puzzles"
            )
        passed = pass_at(voter.rankings()) if voter else {}
        if passed:
            if self._log:
                self._log.write({"step": step} | {f"arc/{key}": value for key, value in passed.items()})
            self._bar.print(f"step {step}: arc: pass@1 {passed['pass@1']:.4f}, pass@2 {passed['pass@2']:.4f}")
        rules = self._config.train
        score = passed.get(rules.best_metric)
        if score is None:
            # Over several sets: their mean, each set counting once.
            score = float(np.mean([report.metrics[rules.best_metric] for report in self._reports.values()]))
        if rules.best_metric.endswith("loss"):
            score = -score
        # A set without labels has no score: of its weights the last are the best.
        if not self._best or math.isnan(score) or score > self._best["score"]:
            self._best = {"score": score, "step": step, "evaluations_since": 0}
            chosen = dataclasses.replace(self._description(step).of_weights(), chosen_on="test")
            save(self._run / "best.safetensors", weights, chosen)
        else:
            self._best = self._best | {"evaluations_since": self._best["evaluations_since"] + 1}
        return self._out_of_patience()

    def _out_of_patience(self) -> str:
        """Return why to stop, or nothing."""
        rules = self._config.train
        if not rules.patience or self._best.get("evaluations_since", 0) < rules.patience:
            return ""
        return (
            f"no better {rules.best_metric} in {rules.patience} evaluations; "
            f"the best was at step {self._best['step']:.0f}"
        )

    def _description(self, step: int) -> Description:
        return Description("checkpoint", self._config, self._metadata, step, best=self._best)

    def _save_checkpoint(self, step: int) -> None:
        path = self._run / "checkpoints" / f"step_{step}.safetensors"
        save_state(path, self._state, self._description(step))
        if jax.process_index() == 0:
            for old in checkpoints(self._run)[: -self._config.train.keep_checkpoints]:
                old.unlink()


@contextlib.contextmanager
def _catch_signals() -> Iterator[list[str]]:
    """Yield a list that gets the name of the first SIGINT or SIGTERM; a second SIGINT interrupts as usual.

    With several processes nothing is caught: they would stop at different steps and wait for each other for ever.
    """
    caught: list[str] = []
    if jax.process_count() > 1:
        yield caught
        return

    def note(number: int, _frame: Any) -> None:
        caught.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        # Python lets only the main thread set handlers; in another, whoever owns the main thread decides.
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
