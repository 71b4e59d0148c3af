"""`trm evaluate`: the accuracy of trained models on a puzzle set."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import typer

from trm.checkpoints.card import describe_weights
from trm.checkpoints.description import array_checksum
from trm.cli.failures import failure_of
from trm.cli.options import (
    CheckpointFiles,
    Coordinator,
    Devices,
    Distributed,
    EvaluatedSet,
    EvaluatedSplit,
    GuessCount,
    IdentifiersOf,
    Noise,
    NoiseTime,
    NoisyLatents,
    Process,
    Processes,
    Raw,
    Rollouts,
    Select,
    Settings,
    SolverSeed,
    Steps,
    ViewCount,
    warn_of_no_effect,
)
from trm.cli.reports import describe_votes, print_report, print_tables, print_votes, write_json
from trm.errors import InputError
from trm.evaluation.arc import Voter, submission, voter_for
from trm.evaluation.data import EvaluationData, open_data
from trm.evaluation.evaluate import evaluate
from trm.evaluation.report import Predictions
from trm.model.flops import network_passes
from trm.parallel.distributed import Launch, joined
from trm.parallel.processes import agree, decide_on_first, is_first
from trm.puzzles.identity import fingerprint
from trm.puzzles.reading import read_puzzle_set
from trm.show.console import print_lines, print_warning
from trm.solving.trained_model import TrainedModel, load
from trm.storage.files import atomic_write, check_writable


def evaluate_command(
    checkpoints: CheckpointFiles,
    data: EvaluatedSet = None,
    split: EvaluatedSplit = "test",
    trained_on: IdentifiersOf = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Puzzles computed at a time.", show_default="as in training", min=1)
    ] = None,
    raw: Raw = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the report to a JSON file too.")] = None,
    submission_out: Annotated[
        Path | None,
        typer.Option("--submission", help="With ARC: write the two best answers to each test input for Kaggle."),
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
            help="Let the halting head stop a puzzle early, as `trm solve` does.",
            show_default="off; on with the options below",
        ),
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(help="Most attempts at a puzzle, until its answer obeys the rules.", min=1)
    ] = None,
    guesses: GuessCount = None,
    views: ViewCount = None,
    rollouts: Rollouts = 1,
    noise: Noise = 0.0,
    noise_on: NoisyLatents = "z_H",
    noise_at: NoiseTime = "steps",
    select: Select = None,
    seed: SolverSeed = None,
    settings: Settings = None,
    devices: Devices = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Measure accuracy on a whole puzzle set, after every supervision step; with ARC also by votes.

    With --halt, or with options of the solver, the command measures the answers of `trm solve` with these options, by
    the supervision steps and network passes that they take; with --select rules also the most confident answers.
    Several checkpoints are measured one by one, and their votes on ARC are counted together. --set takes only keys that
    change memory and time, such as model.remat. With several processes, as in `trm train`, process 0 prints and writes.

    Example: `trm evaluate runs/quickstart/weights.safetensors --views 8`
    """
    if answers_out and len(checkpoints) > 1:
        raise InputError(f"--answers: found {len(checkpoints)} checkpoints, expected one")
    if len(set(checkpoints)) < len(checkpoints):
        raise InputError(f"checkpoints: found {', '.join(checkpoints)}, expected each of them once")
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "steps": steps,
        "halt": halt,
        "attempts": attempts,
        "guesses": guesses,
        "views": views,
        "rollouts": rollouts,
        "noise": noise,
        "noise_on": noise_on,
        "noise_at": noise_at,
        "select": select,
        "seed": seed or 0,
        "devices": devices,
    }
    outputs = _Outputs(json_out, submission_out, answers_out)
    with joined(Launch.of_options(distributed, coordinator, processes, process), failure_of):
        agree("command", [checkpoints, str(data), split, str(trained_on), raw, settings, *map(bool, outputs), options])
        decide_on_first(partial(outputs.check, checkpoints))
        if is_first():
            warn_of_no_effect(select, seed, (views or 1) * rollouts * (attempts or 1), noise, guesses, attempts)
        _evaluate(checkpoints, data, split, trained_on, raw, settings or [], options, outputs)


class _Outputs(NamedTuple):
    """Files to write."""

    json: Path | None
    submission: Path | None
    answers: Path | None

    def check(self, checkpoints: Sequence[str]) -> None:
        """Raise InputError for a file that cannot be written, that is a checkpoint, or that is named twice."""
        named: set[Path] = set()
        for path in filter(None, self):
            check_writable(path)
            for checkpoint in checkpoints:
                if path.exists() and os.path.exists(checkpoint) and path.samefile(checkpoint):
                    raise InputError(f"{path}: found a checkpoint that is read, expected another file to write")
            if path.resolve() in named:
                raise InputError(f"{path}: found it named twice, expected a file of its own for each output")
            named.add(path.resolve())


def _evaluate(
    checkpoints: list[str],
    data: Path | None,
    split: str,
    trained_on: Path | None,
    raw: bool,
    settings: list[str],
    options: dict[str, Any],
    outputs: _Outputs,
) -> None:
    """Evaluate each checkpoint; print and write the reports in process 0."""
    voters: dict[Any, Voter | None] = {}
    written = {}
    unprinted: OSError | None = None
    for checkpoint in checkpoints:
        metadata = read_puzzle_set(data, split).metadata if data else None
        model = load(checkpoint, averaged=not raw, metadata=metadata).with_settings(settings)
        _warn(model.notes)
        opened = open_data(model, data, split, trained_on)
        _warn(opened.warnings)
        _check_same(model, opened, split)
        voter, answers = None, _Answers(model) if outputs.answers and is_first() else None
        if split == "test":
            key = opened.directories, opened.names
            if key not in voters:
                voters[key] = voter_for(opened.puzzles, opened.directories, opened.names)
            voter = voters[key]
        if outputs.submission and voter is None:
            name = opened.puzzles.name
            raise InputError(f"--submission: {name}: found no tasks to solve, expected the test split of ARC")

        reports = evaluate(model, opened.puzzles, on_answers=_seen_by(voter, answers), **options)
        if not is_first():
            continue
        if answers and outputs.answers:
            answers.write(outputs.answers)
        try:
            print_lines(f"{checkpoint}: {describe_weights(model.description)}")
            for name, report in reports.items():
                print_report(name, report)
                print_tables(report, network_passes(model.config.model))
        except OSError as error:
            # A reader that leaves early, or a full disk behind the output, must not cost the files.
            if not any(outputs):
                raise
            unprinted = error
        description = model.description
        written[checkpoint] = {name: dataclasses.asdict(report) for name, report in reports.items()} | {
            "weights": {
                "step": description.step,
                "averaged": description.averaged,
                "chosen_on": description.chosen_on or None,
            },
            "network_passes_per_step": network_passes(model.config.model),
        }
    known = [voter for voter in voters.values() if voter]
    # In every process: an error about the tasks ends all of them alike.
    rankings = known[0].rankings(known[1:]) if known else None
    if not is_first():
        return
    results = written if len(checkpoints) > 1 else written[checkpoints[0]]
    votes = None if rankings is None else describe_votes(rankings)
    if outputs.submission and rankings is not None:
        write_json(outputs.submission, submission(rankings))
    if outputs.json:
        write_json(outputs.json, results if votes is None else results | {"arc": votes})
    if unprinted:
        raise unprinted
    if rankings is not None and votes is not None:
        print_votes(rankings, votes)


def _warn(lines: Sequence[str]) -> None:
    if is_first():
        for line in lines:
            print_warning(line)


def _check_same(model: TrainedModel, opened: EvaluationData, split: str) -> None:
    """Raise InputError where processes have read other weights or puzzles."""
    if jax.process_count() > 1:
        leaves = jax.tree.leaves(model.weights)
        agree(f"{model.name}: weights", [array_checksum("", np.asarray(leaf)) for leaf in leaves])
        agree(f"{opened.puzzles.name}: puzzle set", fingerprint(opened.directories, split))


def _seen_by(voter: Voter | None, answers: "_Answers | None") -> Callable[[Predictions], None]:
    """Return the function that takes the predictions of a batch."""

    def see(predictions: Predictions) -> None:
        if voter:
            voter.see(predictions)
        if answers:
            answers.see(predictions)

    return see


class _Answers:
    """Puzzles and their answers, for `--answers`."""

    def __init__(self, model: TrainedModel):
        self._pad_id = model.metadata.pad_id
        # The smallest dtype that fits: an evaluation of ARC has hundreds of millions of tokens.
        self._dtype = np.min_scalar_type(model.metadata.vocab_size - 1)
        self._batches: list[Predictions] = []

    def see(self, batch: Predictions) -> None:
        inputs, predictions = (tokens.astype(self._dtype) for tokens in (batch.inputs, batch.predictions))
        self._batches.append(batch._replace(inputs=inputs, predictions=predictions))

    def write(self, path: Path) -> None:
        columns: Sequence[Any] = list(zip(*self._batches, strict=True))
        arrays = Predictions(*map(np.concatenate, columns))
        # Sequences that pad a batch hold only padding tokens.
        puzzles = (arrays.inputs != self._pad_id).any(axis=1)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{name: array[puzzles] for name, array in arrays._asdict().items()})
