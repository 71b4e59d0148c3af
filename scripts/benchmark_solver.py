"""Measure the solver: what enters is a trained model, what leaves is accuracy against compute for ways to think.

    python scripts/benchmark.py solver runs/quickstart/weights.safetensors

Every way is timed on all puzzles of the test split, after a run that compiles it; the ways take turns, and the fastest
of each counts.
"""

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from trm.checkpoints.format import load_weights
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.boards import BOARDS
from trm.puzzles.metadata import read_puzzle_set
from trm.solving.solve import Thinking, solve
from trm.solving.views import make_views

solver_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)


class Way(NamedTuple):
    """A way to think."""

    name: str
    thinking: Thinking
    views: int = 1


class Figures(NamedTuple):
    """What a way achieves."""

    way: str
    solved: int
    puzzles: int
    steps_per_puzzle: float
    seconds: float
    puzzles_per_second: float


@solver_app.command("solver", epilog="Example: python scripts/benchmark.py solver runs/quickstart/weights.safetensors")
def solver_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint or weights, .safetensors, of Sudokus or mazes.")],
    data: Annotated[
        Path | None, typer.Option(help="Puzzle set.", show_default="the one that the checkpoint was trained on")
    ] = None,
    puzzles: Annotated[int | None, typer.Option(help="Puzzles of the test split.", show_default="all", min=1)] = None,
    slots: Annotated[int, typer.Option(help="Sequences that are refined at a time.", min=1)] = 64,
    steps: Annotated[int, typer.Option(help="Supervision steps at most.", min=1)] = 16,
    noise: Annotated[float, typer.Option(help="Of the rollouts.", min=0)] = 0.3,
    repeats: Annotated[int, typer.Option(help="Runs of each way that are timed.", min=1)] = 3,
    json_out: Annotated[Path | None, typer.Option("--json", help="Append the lines of JSON to a file too.")] = None,
) -> None:
    """Time a model's answers: always all steps, as many as it needs, deeper, with noise, through symmetries."""
    weights, description = load_weights(checkpoint)
    config, metadata = description.config, description.metadata
    kind = BOARDS.get(metadata.puzzle_kind)
    side = metadata.side
    if kind is None or side is None:
        raise InputError(f"{checkpoint}: found a model of {metadata.puzzle_kind}, expected one of {', '.join(BOARDS)}")
    arrays = read_puzzle_set(str(data) if data else config.data.test_paths[0], "test").sets["all"]
    inputs = np.asarray(arrays.inputs[:puzzles]).astype(np.int32)
    boards = inputs.reshape(-1, side, side)
    identifiers = np.zeros(len(inputs), np.int32)
    ways = [
        Way(f"always {steps} steps", Thinking(max_steps=steps, adaptive=False)),
        Way(f"up to {steps} steps", Thinking(max_steps=steps)),
        Way(f"up to {4 * steps} steps", Thinking(max_steps=4 * steps)),
        Way(f"4 rollouts, noise {noise}", Thinking(max_steps=steps, noise=noise, rollouts=4)),
        Way("4 views", Thinking(max_steps=steps), views=4),
        Way("8 views", Thinking(max_steps=steps), views=8),
        Way("8 views, votes", Thinking(max_steps=steps, selection="vote"), views=8),
        Way("8 views, the first", Thinking(max_steps=steps, first=True, selection="first"), views=8),
    ]
    mesh = make_mesh(1)
    seen = {way: make_views(metadata, way.views) if way.views > 1 else None for way in ways}
    fastest = dict.fromkeys(ways, float("inf"))
    solutions = {}
    for repeat in range(1 + repeats):
        for way in ways:
            start = time.perf_counter()
            solutions[way] = solve(weights, config, mesh, inputs, identifiers, way.thinking, slots, seen[way])
            if repeat:  # The first one compiles.
                fastest[way] = min(fastest[way], time.perf_counter() - start)
    figures = []
    for way in ways:
        solved = int(kind.obeys_rules(boards, solutions[way].answers.reshape(boards.shape)).sum())
        steps_per_puzzle = float(solutions[way].total_steps.mean())
        seconds = fastest[way]
        figures.append(Figures(way.name, solved, len(inputs), steps_per_puzzle, seconds, len(inputs) / seconds))
    table = Table(*(name.replace("_", " ") for name in Figures._fields), box=None)
    for row in figures:
        table.add_row(*(value if isinstance(value, str) else f"{value:,.2f}" for value in row))
    console.print(table, highlight=False)
    machine = {"cpu_cores": os.cpu_count(), "date": datetime.now().astimezone().isoformat(timespec="seconds")}
    for row in figures:
        line = json.dumps(row._asdict() | machine)
        print(line)
        if json_out:
            with json_out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
