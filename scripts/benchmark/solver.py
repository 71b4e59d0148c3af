"""Accuracy against compute of the solver, for several options. Entry: `solver_command`.

Each set of options is timed on all puzzles of the test split, after a run that compiles it. The sets take turns; the
fastest run of each gives its speed.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from records import Recorder, hardware, spread

from benchmark.options import JsonOut
from benchmark.printing import print_table
from benchmark.timing import take_turns
from trm.checkpoints.format import load_weights
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.reading import read_puzzle_set
from trm.solving.options import SolverOptions
from trm.solving.solve import solve
from trm.solving.views import make_views


class Way(NamedTuple):
    """Options of the solver, with a name."""

    name: str
    thinking: SolverOptions
    views: int = 1


def solver_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint or weights of Sudokus or mazes, or a bundled name.")],
    data: Annotated[Path | None, typer.Option(help="Puzzle set.", show_default="the one of the training")] = None,
    puzzles: Annotated[int | None, typer.Option(help="Number of test puzzles.", show_default="all", min=1)] = None,
    slots: Annotated[int, typer.Option(help="Sequences refined at a time.", min=1)] = 64,
    steps: Annotated[int, typer.Option(help="Most supervision steps.", min=1)] = 16,
    noise: Annotated[float, typer.Option(help="Standard deviation of the rollouts' noise.", min=0)] = 0.3,
    repeats: Annotated[int, typer.Option(help="Timed runs of each way.", min=1)] = 3,
    json_out: JsonOut = None,
) -> None:
    """Time a model's answers: with all steps, with halting, with more steps, with noise, through symmetries."""
    weights, description = load_weights(checkpoint)
    config, metadata = description.config, description.metadata
    kind = kind_of(metadata)
    if kind.solved_from != "text":
        raise InputError(f"{checkpoint}: found a model of {kind.name}, expected one that is solved from text")
    arrays = read_puzzle_set(str(data) if data else config.data.test_paths[0], "test").sets["all"]
    inputs = np.asarray(arrays.inputs[:puzzles]).astype(np.int32)
    identifiers = np.zeros(len(inputs), np.int32)
    ways = [
        Way(f"always {steps} steps", SolverOptions(max_steps=steps, adaptive=False)),
        Way(f"up to {steps} steps", SolverOptions(max_steps=steps)),
        Way(f"up to {4 * steps} steps", SolverOptions(max_steps=4 * steps)),
        Way(f"4 rollouts, noise {noise}", SolverOptions(max_steps=steps, noise=noise, rollouts=4)),
        Way("4 views", SolverOptions(max_steps=steps), views=4),
        Way("8 views", SolverOptions(max_steps=steps), views=8),
        Way("8 views, votes", SolverOptions(max_steps=steps, selection="vote"), views=8),
        Way("8 views, the first", SolverOptions(max_steps=steps, stop_at_first=True, selection="first"), views=8),
    ]
    mesh = make_mesh(1)
    seen = {way: make_views(metadata, way.views) if way.views > 1 else None for way in ways}
    solutions = {}

    def run(way: Way) -> float:
        start = time.perf_counter()
        solutions[way] = solve(weights, config, mesh, inputs, identifiers, way.thinking, slots, seen[way])
        return time.perf_counter() - start

    programs: dict[str, Callable[[], float]] = {way.name: partial(run, way) for way in ways}
    turns = take_turns(programs, 1 + repeats)
    recorder = Recorder("solver", json_out, hardware(mesh))
    rows = []
    for way in ways:
        seconds = spread(turns[way.name][1:])  # The first run compiles.
        figures = {
            "solved": int(kind.solved(inputs, solutions[way].answers).sum()),
            "puzzles": len(inputs),
            "steps_per_puzzle": float(solutions[way].total_steps.mean()),
            "seconds": seconds,
            "puzzles_per_second": len(inputs) / seconds["min"],
        }
        recorder.add(figures, config=checkpoint, seed=way.thinking.seed, way=way.name, slots=slots)
        numbers = (figures["steps_per_puzzle"], seconds["min"], figures["puzzles_per_second"])
        rows.append((way.name, figures["solved"], len(inputs), *(f"{number:,.2f}" for number in numbers)))
    print_table(("way", "solved", "puzzles", "steps per puzzle", "seconds", "puzzles/s"), rows)
