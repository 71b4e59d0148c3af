"""A training run: train a configuration in a run folder. Entry: `train`.

    RUN/config.toml                    every value of the configuration
    RUN/metrics.jsonl                  one line per step and per evaluation
    RUN/checkpoints/step_N.safetensors the last few states, from which the run resumes
    RUN/best.safetensors               weights of the best evaluation so far, on validation puzzles or the test set
    RUN/weights.safetensors            weights at the end; a run that was stopped has none

The loop keeps the device busy: batches are prefetched on a thread, and the metrics of a step are fetched after the next
one is dispatched. A run that was killed at any moment resumes to the same numbers, bit for bit.
"""

import contextlib
import dataclasses
import functools
import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from rich.console import Console

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.configuration.reading import config_to_toml
from trm.configuration.rules import warnings_of
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.evaluation.report import Report
from trm.model.flops import training_step_flops
from trm.model.weights import Weights
from trm.parallel.environment import settled
from trm.parallel.mesh import make_mesh
from trm.parallel.processes import agree, decide_on_first, is_first
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import Batch, Window
from trm.supervision.loss import Metrics
from trm.training.best import Best, load_best
from trm.training.curriculum import cycles_at
from trm.training.evaluator import CompiledEvaluation, Evaluation, Evaluator
from trm.training.feed import open_feed
from trm.training.metrics import StepMetrics
from trm.training.nonfinite import MAX_IN_A_ROW, NonFinite, OnNonfinite, skip_step
from trm.training.resume import begin
from trm.training.run_folder import RunFolder
from trm.training.saving.manager import CheckpointManager
from trm.training.sets import evaluation_steps, fingerprints, open_sets
from trm.training.signals import Stopped, StopRequest, catch_signals
from trm.training.start_from import WarmStart
from trm.training.state import TrainState, check_divisible, total_steps, trained_weights
from trm.training.step import make_train_step
from trm.training.tracking.measured import Measured
from trm.training.tracking.progress import Progress, Show
from trm.training.tracking.record import Record
from trm.training.tracking.tracker import Hook, Trackers


class Outcome(NamedTuple):
    """How a run ended."""

    step: int
    reports: dict[str, Report]
    """Reports of the last evaluation on the test set, by set; empty without one. At the end of a run with validation
    puzzles they are those of the best weights."""
    best: Best
    """The evaluation that the best weights come from."""
    chosen_on: str
    """The split of that evaluation: validation or test."""
    stopped: str
    """Reason for an end before the last step; else empty."""
    weights_path: Path | None
    """The weights at the end; None when a signal stopped the run."""
    signal: int = 0
    """Number of the signal that stopped the run; 0: none."""


def train(
    config: Config,
    run: str | Path,
    mesh: Mesh | None = None,
    resume: bool = False,
    init: WarmStart | None = None,
    hooks: Sequence[Hook] = (),
    *,
    on_nonfinite: OnNonfinite = "stop",
    console: Console | None = None,
    show: Show = "live",
) -> Outcome:
    """Train in a run folder, from the start or, with `resume`, from its newest checkpoint if it has one.

    A start has initial weights, or those of `init`, and everything else initial. Without `mesh` it is on all devices.
    `hooks` are trackers, or functions, that get every line of the metrics file as a dictionary; a hook that fails gives
    a warning and does not end the run. SIGINT and SIGTERM save a checkpoint and return. `show`: how progress is shown.

    Raises InputError for data or a folder that do not fit, and FloatingPointError when a loss or a gradient is not
    finite; the last good checkpoint is kept. With `on_nonfinite` "rewind" the run goes back to it instead, and makes
    the same steps but for the one that did it.
    """
    run, console, mesh = Path(run), console or Console(), mesh or make_mesh()
    agree("command", [config_to_toml(config), resume, init is None, mesh.size])
    skipped: set[int] = set()
    progress = Progress(console, run.name, show)
    with (
        catch_signals() as stop,
        RunFolder(run, config) as folder,
        Trackers(hooks if is_first() else (), progress.print) as trackers,
    ):
        open_record = partial(Record, run / "metrics.jsonl", progress, [trackers.log])
        while True:
            try:
                return _train(config, run, mesh, resume, init, open_record, stop, folder, skipped)
            except NonFinite as error:
                if on_nonfinite == "stop" or skipped.issuperset(range(error.step - MAX_IN_A_ROW, error.step)):
                    raise
                progress.print(error.rewinding)
                skipped.add(error.step)
                resume = True
            # Functions of the attempt that failed hold its state in a circle of references.
            gc.collect()


def _train(
    config: Config,
    run: Path,
    mesh: Mesh,
    resume: bool,
    init: WarmStart | None,
    open_record: Callable[[int, int, bool], Record],
    stop: StopRequest,
    folder: RunFolder,
    skipped: set[int],
) -> Outcome:
    """Train until the end, a signal, or a number that is not finite; `skipped` becomes all steps that train nothing."""
    sets = open_sets(config)
    metadata = sets.train.metadata
    check_divisible(config, mesh.size)
    steps = total_steps(config, metadata)
    rules = config.train
    with contextlib.ExitStack() as stack:
        switched_off = stack.enter_context(settled())
        identity = agree("data.path: puzzle set", fingerprints(config, sets))
        start = begin(config, run, mesh, metadata, identity, resume, init)
        warnings = [f"warning: {line}" for line in [*switched_off, *warnings_of(config, steps)]]
        folder.write()
        record = stack.enter_context(open_record(steps, start.step, start.evaluation_due))
        for line in [*start.notes, *warnings]:
            record.print(line)
        feed = stack.enter_context(open_feed(sets.train, config, mesh, start.step, start.rows_used))

        @functools.cache
        def stage_flops(cycles: tuple[int, int]) -> int:
            of_stage = dataclasses.replace(config, model=config.model.with_cycles(*cycles))
            return training_step_flops(of_stage, metadata.vocab_size, metadata.seq_len, rules.global_batch_size)

        measured = Measured(rules.global_batch_size, mesh, lambda at: stage_flops(cycles_at(config, at, steps)))

        def renew() -> None:
            if folder.renew(record.print) or record.is_lost:
                record.reopen()

        manager = stack.enter_context(CheckpointManager(run, rules, start.step, renew, record.print, record.saved))
        metrics = StepMetrics(rules.global_batch_size, manager.newest, record, measured, start.rows_used)
        train_step = _StagedTrainStep(config, metadata, mesh, steps, stop)
        evaluation_step = CompiledEvaluation(config, mesh, stop)
        test = Evaluator(evaluation_step, sets.test, config.data.test_paths, "test/" if sets.validation else "")
        chooser = Evaluator(evaluation_step, sets.validation, (), "validation/") if sets.validation else test
        evaluate_at = set(evaluation_steps(config, metadata, steps))
        state, step, best, due = start.state, start.step, start.best, start.evaluation_due
        rewound = not skipped.issubset(start.skipped)
        skipped.update(start.skipped)
        reports = {}
        best_path, weights_path = run / "best.safetensors", run / "weights.safetensors"
        if best.step and not decide_on_first(best_path.is_file):
            record.print(f"warning: {best_path}: not found, the best weights until step {best.step} are lost")
            best = Best()

        def describe() -> Description:
            return Description(
                "checkpoint",
                config,
                metadata,
                step,
                best=best.to_dict(),
                identity=identity,
                evaluation_due=due,
                skipped=tuple(sorted(skipped)),
            )

        def save_state(is_best: bool = False) -> None:
            metrics.report()
            best_weights = dataclasses.replace(describe().of_weights(), chosen_on=sets.chosen_on)
            manager.save(state, describe(), best_weights if is_best else None)
            measured.restart()

        def evaluate(evaluator: Evaluator, weights: Weights, at: int) -> Evaluation:
            nonlocal reports
            record.doing("evaluating")
            evaluation = evaluator(weights)
            for line in evaluation.lines(step):
                record.log(line)
            for text in evaluation.texts(at):
                record.print(text)
            if evaluator is test:
                reports = evaluation.reports
            return evaluation

        def choose() -> None:
            nonlocal best, due
            metrics.report()
            weights = trained_weights(state)
            score = evaluate(chooser, weights, step).score(rules.best_metric)
            # One process decides when to stop and what to keep.
            score = decide_on_first(lambda: score)
            best, due = best.after(score, step), False
            save_state(is_best=best.step == step)

        # Only explicit transfers between host and device are allowed in the loop.
        with jax.transfer_guard("disallow"):
            try:
                if rewound:
                    # Before anything else: a run that is killed from here on skips the same steps.
                    save_state()
                if due:
                    choose()
                # A run that ended by `patience` is at its end when it is resumed, too.
                while step < steps and not best.why_stop(rules):
                    data = feed(metrics.rows_used)
                    if step + 1 in skipped:
                        metrics.report()
                        state, step = skip_step(state, mesh), step + 1
                        metrics.skip(step, rules.global_batch_size)
                    else:
                        # A signal may stop the call before it has made the step.
                        state, sums = train_step(step + 1, state, data)
                        step += 1
                        metrics.report()
                        metrics.add(step, sums)
                    if due := step in evaluate_at:
                        choose()
                    elif manager.is_due(step):
                        save_state()
                    if step < steps:
                        stop.check(step)
                if not manager.has_saved(step):
                    save_state()
                manager.finish()
                if sets.validation:
                    last = trained_weights(state)
                    try:
                        chosen, of_step = load_best(best_path, last), best.step
                    except InputError as error:
                        record.print(f"warning: {error}; the test set is evaluated with the last weights")
                        chosen, of_step = last, step
                    evaluate(test, chosen, of_step)
            except Stopped:
                if not manager.has_saved(step):
                    save_state()
                    manager.wait()
                why = f"{stop.name} at step {step}; go on with --resume"
                return Outcome(step, reports, best, sets.chosen_on, why, None, stop.number)
            save(weights_path, trained_weights(state), describe().of_weights())
        why = best.why_stop(rules) if step < steps else ""
        return Outcome(step, reports, best, sets.chosen_on, why, weights_path)


class _StagedTrainStep:
    """The training step, compiled again where the curriculum changes the cycles."""

    def __init__(self, config: Config, metadata: Metadata, mesh: Mesh, steps: int, stop: StopRequest):
        self._config, self._metadata, self._mesh, self._steps, self._stop = config, metadata, mesh, steps, stop
        self._cycles: tuple[int, int] | None = None
        self._compiled: Any = None

    def __call__(self, step: int, state: TrainState, data: Batch | Window) -> tuple[TrainState, Metrics]:
        """Make a step; raise Stopped, with the state unchanged, when a signal comes before it is compiled."""
        cycles = cycles_at(self._config, step, self._steps)
        if cycles != self._cycles:
            # Making the step transfers constants.
            with jax.transfer_guard("allow"):
                train_step = make_train_step(self._config, self._metadata, self._mesh, cycles)
                self._compiled = self._stop.compile(train_step, state, data)
            self._cycles = cycles
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            return self._compiled(state, data)
