"""The command that solves puzzles: reads boards, asks the solver, writes the answers; ARC is in `cli_solve_arc`."""

import csv
import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from trm.checkpoints.format import load_weights
from trm.cli.options import (
    SLOTS,
    Devices,
    Noise,
    NoisyLatents,
    Output,
    Rollouts,
    Select,
    Steps,
    ThinkingSeed,
    ViewCount,
    make_thinking,
    views_of,
)
from trm.cli.solve_arc import solve_arc
from trm.cli.weights import CheckpointFile
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.csv_files import FIRST_ROW, read_questions
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.registry import KINDS, kind_of
from trm.puzzles.metadata import Metadata
from trm.show.console import console, print_lines
from trm.show.terminal import draw_changes
from trm.solving.reason import answer_every_step
from trm.solving.solve import Solutions, solve
from trm.storage.files import read_standard_input

solve_app = typer.Typer()


@solve_app.command("solve")
def solve_command(
    checkpoint: CheckpointFile,
    puzzle: Annotated[
        str,
        typer.Argument(
            help="A puzzle, a file (one per line, a grid, or a .csv; of ARC: JSON), or - for standard input."
        ),
    ] = "-",
    output: Annotated[
        Output, typer.Option("--format", help="text: drawn; plain: one answer per line; json; csv.")
    ] = "text",
    watch: Annotated[bool, typer.Option("--watch", help="Draw the answer after each supervision step.")] = False,
    steps: Steps = None,
    halt: Annotated[
        bool, typer.Option("--halt/--no-halt", help="Stop when the halting head takes the answer for right.")
    ] = True,
    views: ViewCount = None,
    rollouts: Rollouts = 1,
    noise: Noise = 0.0,
    noise_on: NoisyLatents = "z_H",
    select: Select = None,
    seed: ThinkingSeed = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Of ARC: puzzle set that names the tasks of the model.",
            show_default="the one that the checkpoint was trained on",
        ),
    ] = None,
    devices: Devices = None,
) -> None:
    """Solve Sudokus, written row by row with . for a blank, mazes, or tasks of ARC as JSON that a model was trained on.

    Example: `trm solve runs/quickstart/weights.safetensors 3654.24...5..32.4..4..232....4.....5`
    """
    if watch:
        # It shows one look at the puzzle, every step of it.
        unused = {"--format": output != "text", "--no-halt": not halt, "--views": views, "--rollouts": rollouts > 1}
        unused |= {"--noise": noise, "--select": select, "--devices": devices}
        if given := [name for name, found in unused.items() if found]:
            raise InputError(f"--watch: found {given[0]} beside it, expected none of {', '.join(unused)}")
    weights, description = load_weights(checkpoint)
    metadata, config = description.metadata, description.config
    max_steps = steps or config.halting.halt_max_steps
    thinking = make_thinking(steps, halt, views or 1, rollouts, noise, noise_on, select, seed)
    kind = kind_of(metadata)
    if kind.solved_from == "tasks":
        if watch:
            raise InputError("--watch: found a model of ARC, expected one of Sudokus or mazes")
        solve_arc(weights, config, puzzle, data, thinking, views, make_mesh(devices), output)
        return
    if data:
        raise InputError(f"--data: found a model of {kind.name}, expected one of ARC")
    if kind.solved_from == "nothing":
        known = ", ".join(name for name in KINDS.names() if KINDS[name].solved_from != "nothing")
        raise InputError(f"{checkpoint}: found a model of {kind.name}, expected one of {known}, or of your own kind")
    texts = _read_puzzles(puzzle, metadata, kind)
    questions = np.stack([_parse(kind, text, where, metadata) for where, text in texts])
    titles = [where if len(texts) > 1 else "" for where, _ in texts]
    inputs = questions.astype(np.int32)
    if watch:
        config = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=max_steps))
        _watch(weights, config, kind, inputs, titles)
        return
    # A device without a puzzle would only wait for the others.
    mesh = make_mesh(devices or min(len(jax.devices()), len(inputs)))
    identifiers = np.zeros(len(inputs), np.int32)
    seen = views_of(metadata, views or 1, seed)
    solutions = solve(weights, config, mesh, inputs, identifiers, thinking, SLOTS * mesh.size, seen)
    _write(output, kind, titles, inputs, solutions, max_steps)


def _read_puzzles(puzzle: str, metadata: Metadata, kind: PuzzleKind) -> list[tuple[str, str]]:
    """Return each puzzle with where it stands: an argument, or those of a file or of standard input."""
    path = Path(puzzle)
    if puzzle == "-":
        name, text = "standard input", read_standard_input()
    elif os.path.isfile(puzzle):
        if re.search(r"\.csv(\.gz)?$", puzzle, re.IGNORECASE):
            return [(f"{path}: row {i}", text) for i, text in enumerate(read_questions(path), start=FIRST_ROW)]
        name = puzzle
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{puzzle}: cannot read: {error}") from error
    elif os.path.isdir(puzzle):
        raise InputError(f"{puzzle}: found a folder, expected a puzzle or a file of them")
    elif "/" in puzzle or re.search(r"\.[a-zA-Z]\w*$", puzzle):
        # A puzzle has neither a slash nor an ending like .txt.
        raise InputError(f"{puzzle}: no such file")
    else:
        return [("puzzle", puzzle)]
    # Where a space is a cell, a line of spaces is a row.
    spaces = "" if kind.has_spaces else " \t"
    lines = [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip(spaces)]
    if not lines:
        raise InputError(f"{name}: found no puzzle, expected one per line, or one as a grid")
    cells = [len(line.translate(dict.fromkeys(map(ord, spaces)))) for _, line in lines]
    if len(lines) == metadata.side and max(cells) < metadata.seq_len:
        return [(name, "\n".join(line for _, line in lines))]
    return [(f"{name}: line {i}", line) for i, line in lines]


def _parse(kind: PuzzleKind, text: str, where: str, metadata: Metadata) -> np.ndarray:
    tokens = kind.parse(text, where)
    if tokens.size != metadata.seq_len:
        n = metadata.side
        trained_on = f"{n}x{n} boards" if n else "puzzles of that length"
        raise InputError(
            f"{where}: found {tokens.size} cells, expected {metadata.seq_len}: the model was trained on {trained_on}"
        )
    return tokens


def _watch(weights: Any, config: Config, kind: PuzzleKind, inputs: np.ndarray, titles: list[str]) -> None:
    """Draw what the network thinks of each puzzle after each supervision step, all of them."""
    weights = jax.device_put(weights)  # Once, not with every part.
    for start in range(0, len(inputs), SLOTS):
        part = slice(start, start + SLOTS)
        answers = answer_every_step(weights, config, inputs[part], np.zeros(len(inputs[part]), np.int32))
        thoughts = answers.predictions
        for i, (title, question) in enumerate(zip(titles[part], inputs[part], strict=True)):
            if title:
                print_lines(title)
            drawings = [kind.draw(question, thought) for thought in thoughts[:, i]]
            puzzle = kind.draw(question, question)
            console.print(draw_changes(puzzle, thoughts[:, i], drawings, console.width), highlight=False)
            print_lines(f"would have halted after {answers.halting_steps[i]} of {len(thoughts)} supervision steps\n")


def _write(
    output: Output,
    kind: PuzzleKind,
    titles: list[str],
    questions: np.ndarray,
    solutions: Solutions,
    max_steps: int,
) -> None:
    answers = solutions.answers
    solved = kind.solved(questions, answers)
    rows = [
        {
            "puzzle": kind.format(questions[i]),
            "answer": kind.format(answers[i]),
            "obeys_rules": bool(solved[i]),
            "confidence": round(float(solutions.confidence[i]), 6),
            "halted": bool(solutions.halted[i]),
            "steps": int(solutions.total_steps[i]),
        }
        for i in range(len(questions))
    ]
    if output == "plain":
        for row in rows:
            print(row["answer"])
    elif output == "json":
        print(json.dumps(rows, indent=1))
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        for i, (title, row) in enumerate(zip(titles, rows, strict=True)):
            if title:
                print_lines(title)
            console.print(kind.draw(questions[i], answers[i]), highlight=False)
            verdict = "obeys the rules" if row["obeys_rules"] else "breaks the rules: the network did not solve it"
            several = solutions.steps.shape[1]
            of = f"{max_steps}" if several == 1 else f"{several} x {max_steps}"
            stopped = "" if row["halted"] else ", not stopped by the halting head"
            print_lines(
                f"{row['answer']}\n{verdict}; confidence {row['confidence']:.3f}, "
                f"{row['steps']} of {of} supervision steps{stopped}\n"
            )
