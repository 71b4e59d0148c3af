"""`trm solve`: puzzles as text in, answers out. Tasks of ARC are in `trm.cli.solve_arc`."""

import csv
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated

import jax
import numpy as np
import typer

from trm.cli.options import (
    Attempts,
    CheckpointFile,
    Columns,
    Devices,
    GuessCount,
    Noise,
    NoiseTime,
    NoisyLatents,
    Output,
    Rollouts,
    Seconds,
    Select,
    SolverSeed,
    Steps,
    TrainedOn,
    ViewCount,
    warn_of_no_effect,
)
from trm.cli.progress import show_attempts
from trm.cli.read_puzzles import PuzzleCommand, check_questions, read_questions
from trm.cli.solve_arc import solve_arc
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.parallel.programs import keep_programs
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.text.columns import parse_columns
from trm.show.console import console, print_drawing, print_lines, print_warning
from trm.show.terminal import draw_changes
from trm.solving.answer import Answer
from trm.solving.options import choose_attempts, make_options
from trm.solving.reason import answer_every_step
from trm.solving.trained_model import SLOTS, TrainedModel, load


def solve_command(
    checkpoint: CheckpointFile,
    puzzle: Annotated[
        str,
        typer.Argument(
            help="A puzzle, a file of them in any form (grids, lines, tables, JSON), or - for standard input."
        ),
    ] = "-",
    output: Annotated[
        Output, typer.Option("--format", help="text: drawn; plain: one answer per line; json; csv.")
    ] = "text",
    watch: Annotated[bool, typer.Option("--watch", help="Draw the answer after each supervision step.")] = False,
    steps: Steps = None,
    halt: Annotated[bool, typer.Option("--halt/--no-halt", help="Let the halting head stop a puzzle early.")] = True,
    attempts: Attempts = None,
    seconds: Seconds = None,
    guesses: GuessCount = None,
    views: ViewCount = None,
    rollouts: Rollouts = 1,
    noise: Noise = 0.0,
    noise_on: NoisyLatents = "z_H",
    noise_at: NoiseTime = "steps",
    select: Select = None,
    seed: SolverSeed = None,
    trained_on: TrainedOn = None,
    columns: Columns = None,
    side: Annotated[
        int | None,
        typer.Option(
            help="Side of the boards, for weights that answer boards of any side (state digits, with attention).",
            show_default="as trained",
            min=1,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Check puzzles by their rules before solving them.")
    ] = True,
    devices: Devices = None,
) -> int:
    """Solve Sudokus and mazes as text, or ARC tasks that the model was trained on as JSON.

    A puzzle whose answer breaks the rules is attempted again, through symmetries, with guesses and with noise, until
    --attempts or --seconds are used up. The exit code is 1, after all answers, if one of them still breaks the rules,
    and 2 if a puzzle cannot have an answer.

    Example: `trm solve runs/quickstart/weights.safetensors 3654.24...5..32.4..4..232....4.....5`
    """
    if watch:
        # --watch shows every step of a single candidate.
        unused = {"--format": output != "text", "--no-halt": not halt, "--views": views, "--rollouts": rollouts > 1}
        unused |= {"--attempts": attempts, "--seconds": seconds, "--guesses": guesses is not None, "--noise": noise}
        unused |= {"--select": select, "--devices": devices}
        if given := [name for name, found in unused.items() if found]:
            raise InputError(f"--watch: found together with {given[0]}, expected none of {', '.join(unused)}")
    keep_programs()
    model = load(checkpoint)
    for line in model.notes:
        print_warning(line)
    if side is not None:
        model = model.for_side(side)
    kind = model.kind
    if kind.solved_from == "tasks":
        if watch:
            raise InputError("--watch: found a model of ARC, expected one of Sudokus or mazes")
        choose_attempts(attempts, seconds, views, rollouts, select, kind, guesses)
        warn_of_no_effect(select, seed, rollouts, noise)
        options = make_options(
            steps=steps,
            halt=halt,
            views=views or 1,
            rollouts=rollouts,
            noise=noise,
            noise_on=noise_on,
            noise_at=noise_at,
            select=select,
            seed=seed or 0,
        )
        solve_arc(model, puzzle, trained_on, options, views, make_mesh(devices), output)
        return 0
    if trained_on:
        raise InputError(f"--trained-on: found a model of {kind.name}, expected a model of arc")
    if kind.solved_from == "nothing":
        known = ", ".join(name for name in KINDS.names() if KINDS[name].solved_from != "nothing")
        raise InputError(f"{checkpoint}: found a model of {kind.name}, expected one of {known}, or of your own kind")
    limit = choose_attempts(attempts, seconds, views, rollouts, select, kind, guesses)
    candidates = (views or 1) * rollouts if limit is None else limit
    warn_of_no_effect(select, seed, candidates, noise, guesses, limit)
    read = read_questions(puzzle, model, parse_columns(columns))
    if check:
        check_questions(read, kind)
    questions = np.stack([question.tokens for question in read])
    titles = [question.where if len(read) > 1 else "" for question in read]
    max_steps = steps or model.config.halting.halt_max_steps
    if watch:
        _watch(model, questions, titles, max_steps)
        return 0
    with show_attempts(len(questions)) as on_progress:
        answers = model.solve(
            questions,
            attempts=attempts,
            seconds=seconds,
            guesses=guesses,
            views=views,
            rollouts=rollouts,
            noise=noise,
            noise_on=noise_on,
            noise_at=noise_at,
            steps=steps,
            halt=halt,
            select=select,
            seed=seed or 0,
            devices=devices,
            on_progress=on_progress,
        )
    if output == "text":
        _draw(model, answers, titles)
    else:
        _write(model, answers, output)
    for question, answer in zip(read, answers, strict=True):
        if not answer.valid:
            where = question.where
            print_warning(f"{where}: not solved after {answer.attempts} attempts, the answer breaks the rules")
    return 0 if all(answer.valid for answer in answers) else 1


COMMAND_CLASS = PuzzleCommand
"""Class of the command, which `trm.cli.lazy` looks for."""


def _watch(model: TrainedModel, inputs: np.ndarray, titles: list[str], max_steps: int) -> None:
    """Draw the answer to each puzzle after each supervision step."""
    kind, config = model.kind, model.config
    config = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=max_steps))
    weights = jax.device_put(model.weights)  # Once, not for every batch.
    for start in range(0, len(inputs), SLOTS):
        part = slice(start, start + SLOTS)
        answers = answer_every_step(weights, config, inputs[part], np.zeros(len(inputs[part]), np.int32))
        for i, (title, question) in enumerate(zip(titles[part], inputs[part], strict=True)):
            by_step = answers.predictions[:, i]
            if title:
                print_lines(title)
            drawings = [kind.draw(question, answer) for answer in by_step]
            puzzle = kind.draw(question, question)
            console.print(draw_changes(puzzle, by_step, drawings, console.width), highlight=False)
            print_lines(f"would have halted after {answers.halting_steps[i]} of {len(by_step)} supervision steps\n")


def _draw(model: TrainedModel, answers: Sequence[Answer], titles: list[str]) -> None:
    for title, answer in zip(titles, answers, strict=True):
        if title:
            print_lines(title)
        print_drawing(model.kind.draw(answer.question, answer.tokens))
        verdict = "obeys the rules" if answer.valid else "breaks the rules: the network did not solve it"
        print_lines(
            f"{answer.text}\n{verdict}; confidence {answer.confidence:.3f}, "
            f"{_count(answer.attempts, 'attempt')}, {_count(answer.steps, 'supervision step')}"
            + (f", {_count(answer.guesses, 'cell')} guessed\n" if answer.guesses else "\n")
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _write(model: TrainedModel, answers: Sequence[Answer], output: Output) -> None:
    rows = [
        {
            "puzzle": model.kind.format(answer.question),
            "answer": answer.text,
            "obeys_rules": answer.valid,
            "confidence": round(answer.confidence, 6),
            "halted": answer.halted,
            "steps": answer.steps,
            "attempts": answer.attempts,
            "guesses": answer.guesses,
        }
        for answer in answers
    ]
    if output == "plain":
        for row in rows:
            print(row["answer"] if row["obeys_rules"] else row["answer"] + "\tbreaks the rules")
    elif output == "json":
        print(json.dumps(rows, indent=1))
    else:
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
