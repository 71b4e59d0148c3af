"""Evaluation of a trained model on a puzzle set, in one call. Entry: `evaluate`."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.evaluation.data import Directories, check_fits, open_data
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Predictions, Report
from trm.evaluation.solver import evaluate_attempts, evaluate_solver
from trm.parallel.environment import settled
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.puzzles.arrays import PuzzleSet
from trm.solving.options import NoiseAt, NoiseOn, choose_attempts, make_options
from trm.solving.selection import SelectionMethod
from trm.solving.trained_model import TrainedModel, load
from trm.solving.views import make_views


@settled()
def evaluate(
    model: TrainedModel | str | Path,
    data: PuzzleSet | Directories | None = None,
    *,
    split: str = "test",
    trained_on: Directories | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    halt: bool | None = None,
    attempts: int | None = None,
    guesses: int | None = None,
    views: int | None = None,
    rollouts: int = 1,
    noise: float = 0.0,
    noise_on: NoiseOn = "z_H",
    noise_at: NoiseAt = "steps",
    select: SelectionMethod | None = None,
    seed: int = 0,
    devices: int | None = None,
    on_answers: Callable[[Predictions], None] | None = None,
) -> dict[str, Report]:
    """Measure a model's accuracy on every puzzle of a puzzle set; return one report for each set of the split.

    `data` is a puzzle set, its directory, or several directories (default: those that the model was trained with).
    Where the identifiers of a directory have other names than in training, they are matched by name with those of
    `trained_on` (see `open_data`). The identifiers of a `PuzzleSet` are not changed.

    Every puzzle gets all supervision steps, and the report has the accuracy after each. With `halt`, or with options of
    the solver (those of `TrainedModel.solve`), the report is on the solver's answers, by the supervision steps that
    they take; with `attempts`, on up to that many attempts at each puzzle, until the rules hold, with `guesses` (see
    `TrainedModel.solve`). `batch_size` puzzles are computed at a time (default: as in training). `on_answers` receives
    the predictions of each batch.

    Raises InputError for a puzzle set that the model cannot read and for options that contradict each other.
    """
    if not isinstance(model, TrainedModel):
        model = load(model)
    if isinstance(data, PuzzleSet):
        puzzles = data
        check_fits(puzzles, model.metadata)
    else:
        opened = open_data(model, data, split, trained_on)
        puzzles = opened.puzzles
        for line in opened.warnings:
            warnings.warn(line, stacklevel=2)
    mesh = make_mesh(devices)
    options = make_options(
        steps=steps,
        halt=halt is not False,
        views=views or 1,
        rollouts=rollouts,
        noise=noise,
        noise_on=noise_on,
        noise_at=noise_at,
        select=select,
        guesses=guesses,
        seed=seed,
    )
    if guesses is not None and attempts is None:
        raise InputError(f"guesses: found {guesses} without attempts, expected attempts too")
    size = batch_size or min(model.config.train.global_batch_size, puzzles.examples)
    if attempts is not None or halt or views or rollouts > 1 or noise or select:
        model = model.in_fast_dtype()
    if attempts is not None:
        most = choose_attempts(attempts, None, views, rollouts, select, model.kind, guesses)
        slots = _round_up(size, mesh.size)
        return evaluate_attempts(
            model.weights, model.config, puzzles, options, slots, mesh, most or attempts, on_answers
        )
    if halt or views or rollouts > 1 or noise or select:
        slots = _round_up(size, mesh.size)
        symmetries = make_views(model.metadata, views, seed) if views and views > 1 else None
        return evaluate_solver(model.weights, model.config, puzzles, options, slots, mesh, symmetries, on_answers)
    config = model.config if steps is None else _with_steps(model.config, steps)
    size = _round_up(size, mesh.size * max(1, config.train.microbatches))
    weights = place(model.weights, mesh, REPLICATED)
    return evaluate_every_step(make_evaluation_step(config, mesh), weights, puzzles, size, mesh, on_answers)


def _with_steps(config: Config, steps: int) -> Config:
    return dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=steps))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
