"""The command that solves puzzles: reads them, asks the solver, writes the answers."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import typer

from trm.boards import BOARDS, Board, BoardKind
from trm.checkpoint import load_weights
from trm.cli_weights import CheckpointFile
from trm.config import Config
from trm.data.csv_files import FIRST_ROW, read_rows
from trm.data.puzzles import Metadata
from trm.devices import make_mesh
from trm.errors import InputError
from trm.hub import local_path
from trm.inference import answer
from trm.printing import console, print_lines
from trm.render import draw_changes
from trm.selection import Method
from trm.solver import NoiseOn, Solutions, Thinking, solve
from trm.views import make_views

solve_app = typer.Typer()

SLOTS = 256
"""Sequences that are refined at a time, at most."""

Output = Literal["text", "plain", "json", "csv"]
"""How answers are written."""


@solve_app.command("solve")
def solve_command(
    checkpoint: CheckpointFile,
    puzzle: Annotated[
        str, typer.Argument(help="A puzzle, a file (one per line, a grid, or a .csv), or - for standard input.")
    ] = "-",
    output: Annotated[
        Output, typer.Option("--format", help="text: drawn; plain: one answer per line; json; csv.")
    ] = "text",
    watch: Annotated[bool, typer.Option("--watch", help="Draw the answer after each supervision step.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Supervision steps at most.", show_default="as trained", min=1)
    ] = None,
    halt: Annotated[
        bool, typer.Option("--halt/--no-halt", help="Stop when the halting head takes the answer for right.")
    ] = True,
    views: Annotated[int, typer.Option(help="Look at a puzzle through so many symmetries.", min=1)] = 1,
    rollouts: Annotated[int, typer.Option(help="Think so many times about each view, with noise.", min=1)] = 1,
    noise: Annotated[float, typer.Option(help="Standard deviation of the noise on the latents.", min=0)] = 0.0,
    noise_on: Annotated[NoiseOn, typer.Option(help="Latents that get the noise.")] = "z_H",
    selection: Annotated[
        Method, typer.Option("--select", help="Which of several answers is taken; first: and the others are given up.")
    ] = "confident",
    seed: Annotated[int, typer.Option(help="Of noise and views.", min=0)] = 0,
) -> None:
    """Solve Sudokus, written row by row with . for a blank, or mazes.

    Example: `trm solve runs/quickstart/weights.safetensors 3654.24...5..32.4..4..232....4.....5`
    """
    weights, description = load_weights(local_path(checkpoint))
    metadata, config = description.metadata, description.config
    kind = BOARDS.get(metadata.puzzle_kind)
    if kind is None or metadata.side is None:
        raise InputError(f"{checkpoint}: found a model of {metadata.puzzle_kind}, expected one of {', '.join(BOARDS)}")
    texts = _read_puzzles(puzzle, metadata)
    questions = np.stack([_parse(kind, text, where, metadata) for where, text in texts])
    titles = [where if len(texts) > 1 else "" for where, _ in texts]
    inputs = questions.reshape(len(questions), -1).astype(np.int32)
    identifiers = np.zeros(len(inputs), np.int32)
    if watch:
        _watch(weights, config, kind, inputs, questions, titles)
        return
    first = selection == "first"
    thinking = Thinking(
        max_steps=steps,
        adaptive=halt,
        noise=noise,
        noise_on=noise_on,
        rollouts=rollouts,
        first=first and halt and views * rollouts > 1,
        selection=selection,
        seed=seed,
    )
    seen = make_views(metadata, views, seed) if views > 1 else None
    # One device: what a person asks for is too little to be shared out.
    slots = min(SLOTS, len(inputs) * views * rollouts)
    solutions = solve(weights, config, make_mesh(1), inputs, identifiers, thinking, slots, seen)
    answers = solutions.answers.reshape(questions.shape)
    _write(output, kind, titles, questions, answers, solutions, steps or config.halting.halt_max_steps)


def _read_puzzles(puzzle: str, metadata: Metadata) -> list[tuple[str, str]]:
    """Return each puzzle with where it stands: an argument, or those of a file or of standard input."""
    path = Path(puzzle)
    if puzzle == "-":
        name, text = "standard input", sys.stdin.read()
    elif len(puzzle) < 256 and path.is_file():
        if re.search(r"\.csv(\.gz)?$", puzzle):
            return [(f"{path}: row {i}", text) for i, text in enumerate(read_rows(path).questions, start=FIRST_ROW)]
        name = puzzle
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{puzzle}: cannot read: {error}") from error
    elif "/" in puzzle or re.search(r"\.[a-zA-Z]\w*$", puzzle):
        # A puzzle has neither a slash nor an ending like .txt.
        raise InputError(f"{puzzle}: no such file")
    else:
        return [("puzzle", puzzle)]
    # In a maze a space is a free cell, and a line of them a row.
    spaces = "" if metadata.puzzle_kind == "maze" else " \t"
    lines = [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip(spaces)]
    if not lines:
        raise InputError(f"{name}: found no puzzle, expected one per line, or one as a grid")
    if len(lines) == metadata.side and all(len("".join(line.split())) < metadata.seq_len for _, line in lines):
        return [(name, "\n".join(line for _, line in lines))]
    return [(f"{name}: line {i}", line) for i, line in lines]


def _parse(kind: BoardKind, text: str, where: str, metadata: Metadata) -> Board:
    board = kind.parse(text, where)
    if board.size != metadata.seq_len:
        n = metadata.side
        raise InputError(
            f"{where}: found {board.size} cells, expected {metadata.seq_len}: the model was trained on {n}x{n} boards"
        )
    return board


def _watch(
    weights: Any, config: Config, kind: BoardKind, inputs: np.ndarray, questions: np.ndarray, titles: list[str]
) -> None:
    """Draw what the network thinks of each puzzle after each supervision step, all of them."""
    weights = jax.device_put(weights)  # Once, not with every part.
    for start in range(0, len(inputs), SLOTS):
        part = slice(start, start + SLOTS)
        answers = answer(weights, config, inputs[part], np.zeros(len(inputs[part]), np.int32))
        thoughts = answers.predictions.reshape(-1, *questions[part].shape)
        for i, (title, question) in enumerate(zip(titles[part], questions[part], strict=True)):
            if title:
                print_lines(title)
            drawings = [kind.draw(question, thought) for thought in thoughts[:, i]]
            puzzle = kind.draw(question, question)
            console.print(draw_changes(puzzle, thoughts[:, i], drawings, console.width)[0], highlight=False)
            print_lines(f"would have halted after {answers.halting_steps[i]} of {len(thoughts)} supervision steps\n")


def _write(
    output: Output,
    kind: BoardKind,
    titles: list[str],
    questions: np.ndarray,
    answers: np.ndarray,
    solutions: Solutions,
    max_steps: int,
) -> None:
    solved = kind.obeys_rules(questions, answers)
    rows = [
        {
            "puzzle": kind.write(questions[i]),
            "answer": kind.write(answers[i]),
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
