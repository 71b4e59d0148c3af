"""The command that measures trained models: reads a puzzle set, asks for reports, prints and writes them."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from trm.checkpoints.format import load_weights
from trm.cli.options import (
    Devices,
    Noise,
    NoisyLatents,
    Rollouts,
    Select,
    Steps,
    ThinkingSeed,
    ViewCount,
    make_thinking,
    views_of,
)
from trm.cli.weights import CheckpointFiles, Raw
from trm.errors import InputError
from trm.evaluation.arc import Ranking, describe_rankings, pass_at, submission, voter_for
from trm.evaluation.data import check_fits
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Accuracy, Interval, Predictions, Report, wilson_interval
from trm.evaluation.solver import evaluate_solver
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.puzzles.reading import read_puzzle_sets
from trm.show.console import console, print_lines, print_rows
from trm.storage.files import atomic_write, check_writable

evaluate_app = typer.Typer()


@evaluate_app.command("evaluate")
def evaluate_command(
    checkpoints: CheckpointFiles,
    data: Annotated[
        Path | None, typer.Option(help="Puzzle set.", show_default="the one that the checkpoint was trained on")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the puzzle set.")] = "test",
    batch_size: Annotated[
        int | None, typer.Option(help="Puzzles at a time.", show_default="as in training", min=1)
    ] = None,
    raw: Raw = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the report to a JSON file too.")] = None,
    submission_out: Annotated[
        Path | None,
        typer.Option("--submission", help="Of ARC: write the two best answers to each test input for Kaggle."),
    ] = None,
    answers_out: Annotated[
        Path | None,
        typer.Option("--answers", help="Write all puzzles and their answers, as arrays of tokens, to a .npz file."),
    ] = None,
    steps: Steps = None,
    halt: Annotated[
        bool | None,
        typer.Option(
            "--halt/--no-halt",
            help="Stop when the halting head takes the answer for right, as `trm solve` does.",
            show_default="off; on with the options below",
        ),
    ] = None,
    views: ViewCount = None,
    rollouts: Rollouts = 1,
    noise: Noise = 0.0,
    noise_on: NoisyLatents = "z_H",
    select: Select = None,
    seed: ThinkingSeed = 0,
    devices: Devices = None,
) -> None:
    """Measure accuracy on a whole puzzle set, after every supervision step; on ARC vote over all augmentations.

    With --halt, or options for more thinking, it measures what `trm solve` answers with them, against the supervision
    steps that takes. Of several checkpoints each is measured, and the votes of all count together.

    Example: `trm evaluate runs/quickstart/weights.safetensors --views 8`
    """
    mesh = make_mesh(devices)
    thinks = bool(halt or views or rollouts > 1 or noise or select)
    thinking = make_thinking(steps, halt is not False, views or 1, rollouts, noise, noise_on, select, seed)
    if answers_out and len(checkpoints) > 1:
        raise InputError(f"--answers: found {len(checkpoints)} checkpoints, expected one")
    if len(set(checkpoints)) < len(checkpoints):
        raise InputError(f"checkpoints: found {', '.join(checkpoints)}, expected each of them once")
    for path in (json_out, submission_out, answers_out):
        if path:
            check_writable(path)
    voter, voters, written, answered = None, {}, {}, []

    def see(batch: Predictions) -> None:
        if voter:
            voter.see(batch)
        if answers_out:
            # A token takes no more than it needs: an evaluation of ARC has hundreds of millions.
            dtype = np.min_scalar_type(puzzles.metadata.vocab_size - 1)
            inputs, predictions = (tokens.astype(dtype) for tokens in (batch.inputs, batch.predictions))
            answered.append(batch._replace(inputs=inputs, predictions=predictions))

    for checkpoint in checkpoints:
        weights, description = load_weights(checkpoint, averaged=not raw)
        config = description.config
        paths = [str(data)] if data else config.data.test_paths if split == "test" else config.data.train_paths
        if not (data or os.path.exists(paths[0])):
            raise InputError(f"{checkpoint}: was trained on {paths[0]}, which is not here, expected --data DIR")
        puzzles = read_puzzle_sets(paths, split)
        check_fits(puzzles, description.metadata)
        if split == "test":
            # Identifiers are called differently in another set.
            if tuple(paths) not in voters:
                voters[tuple(paths)] = voter_for(puzzles, paths)
            voter = voters[tuple(paths)]
        if submission_out and voter is None:
            raise InputError(f"--submission: {puzzles.name}: found no tasks to solve, expected the test split of ARC")
        size = batch_size or min(config.train.global_batch_size, puzzles.examples)
        if thinks:
            slots = -(-size // mesh.size) * mesh.size
            symmetries = views_of(description.metadata, views or 1, seed)
            reports = evaluate_solver(weights, config, puzzles, thinking, slots, mesh, symmetries, see)
        else:
            pieces = mesh.size * config.train.microbatches
            size = -(-size // pieces) * pieces
            if steps:
                config = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=steps))
            placed = place(weights, mesh, REPLICATED)
            reports = evaluate_every_step(make_evaluation_step(config, mesh), placed, puzzles, size, mesh, see)
        if answers_out:
            _write_answers(answers_out, answered, puzzles.metadata.pad_id)
        if len(checkpoints) > 1:
            print_lines(checkpoint)
        for name, report in reports.items():
            print_report(name, report)
            _print_tables(report)
        written[checkpoint] = {name: dataclasses.asdict(report) for name, report in reports.items()}
    results = written if len(checkpoints) > 1 else written[checkpoints[0]]
    if known := [voter for voter in voters.values() if voter]:
        rankings = known[0].rankings(known[1:])
        results = results | {"arc": _describe_votes(rankings)}
        if submission_out:
            _write_json(submission_out, submission(rankings))
    if json_out:
        _write_json(json_out, results)


def print_report(name: str, report: Report) -> None:
    """Print the metrics of a set of puzzles, and how sure the accuracies among them are."""
    print_lines(f"{name}: {report.examples} puzzles (in brackets: 95 % intervals)")
    intervals = report.intervals
    print_rows({f"  {key}": _with_interval(value, intervals.get(key)) for key, value in report.metrics.items()})


def _print_tables(report: Report) -> None:
    columns = ("puzzles", "tokens", "exact", "95 % interval")

    def add(table: Table, accuracy: Accuracy, *cells: str) -> None:
        shares = (f"{accuracy.token:.4f}", f"{accuracy.exact:.4f}", _interval(accuracy.exact_interval))
        table.add_row(*cells, str(accuracy.puzzles), *shares)

    by_compute = Table("steps", "candidates", *columns, box=None)
    for row in report.by_compute:
        add(by_compute, row.accuracy, f"{row.steps:.4g}", str(row.candidates))
    by_difficulty = Table("rating", *columns, box=None)
    for row in report.by_difficulty:
        rating = f"{row.lowest} to {row.highest}" if row.highest > row.lowest else str(row.lowest)
        add(by_difficulty, row.accuracy, rating)
    by_confidence = Table("confidence", "mean", *columns, box=None)
    for row in report.by_confidence:
        add(by_confidence, row.accuracy, f"{row.lowest:.1f} to {row.highest:.1f}", f"{row.mean:.4f}")
    for table in (by_compute, by_difficulty, by_confidence):
        if table.row_count:
            console.print()
            console.print(table, highlight=False)


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.4f}" + (f" ({_interval(interval)})" if interval else "")


def _interval(interval: Interval) -> str:
    return "{:.4f} to {:.4f}".format(*interval)


def _describe_votes(rankings: Mapping[str, list[Ranking]]) -> dict[str, Any]:
    """Print what the votes achieve, and return it for the JSON report."""
    passed = pass_at(rankings)
    intervals = {key: wilson_interval(value, len(rankings)) for key, value in passed.items()}
    print_lines(f"votes: {len(rankings)} tasks, {sum(map(len, rankings.values()))} test inputs")
    print_rows({f"  {key}": _with_interval(value, intervals[key]) for key, value in passed.items()})
    return passed | {"intervals": intervals, "tasks": describe_rankings(rankings)}


def _write_answers(path: Path, batches: Sequence[Predictions], pad_id: int) -> None:
    arrays = Predictions(*map(np.concatenate, zip(*batches, strict=True)))
    # What fills up a batch is padding alone.
    puzzles = (arrays.inputs != pad_id).any(axis=1)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: array[puzzles] for name, array in arrays._asdict().items()})


def _write_json(path: Path, values: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(values)), encoding="utf-8")


def _without_nan(values: Any) -> Any:
    """Put None, JSON's null, in the place of every NaN, a mean over nothing: JSON has none."""
    if isinstance(values, dict):
        return {name: _without_nan(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_without_nan(value) for value in values]
    return None if isinstance(values, float) and math.isnan(values) else values
