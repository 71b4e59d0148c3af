"""Times of our steps and of the original's: three programs that take turns. Entries: `compare`, `print_comparison`."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from records import spread

from benchmark.original import Original
from benchmark.printing import print_table
from benchmark.timing import take_turns, timed
from trm.configuration.schema import Config
from trm.evaluation.every_step import make_evaluation_step
from trm.model.weights import Weights
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import HostBatch, TrainLoader
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import place_batch
from trm.training.state import make_state
from trm.training.step import make_train_step

Stepper = Callable[[str], float]
"""Takes the next step, "train" or "evaluate", and returns its seconds."""


def compare(config: Config, puzzles: PuzzleSet, mesh: Mesh, repeats: int, clone: Path) -> dict[str, dict[str, Any]]:
    """Time ours, the original and the original compiled, taking turns; return the figures of each program."""
    batch_size, metadata = config.train.global_batch_size, puzzles.metadata
    loader = TrainLoader(puzzles, batch_size, config.train.seed)
    batches = [loader.load(step) for step in range(4)]
    device = "cpu" if mesh.devices.flat[0].platform == "cpu" else "cuda"
    steppers: dict[str, Stepper] = {}
    originals: list[Original] = []
    figures: dict[str, dict[str, Any]] = {}
    try:
        steppers["ours"], build_seconds = our_steps(config, metadata, batches, mesh)
        figures["ours"] = {"build_seconds": build_seconds}
        for name, compiled in (("original", False), ("compiled original", True)):
            original = Original(clone, config, metadata, batches, device=device, compiled=compiled)
            originals.append(original)
            steppers[name] = original.step
            figures[name] = {"build_seconds": original.build_seconds}
        for kind in ("train", "evaluate"):
            turns = take_turns({name: partial(step, kind) for name, step in steppers.items()}, 2 + repeats)
            for name, (first, second, *rest) in turns.items():
                # The first step compiles, and the original compiles once more at the second.
                figures[name] |= {f"{kind}_first_seconds": first, f"{kind}_second_seconds": second}
                figures[name][f"{kind}_seconds"] = spread(rest)
    finally:
        for original in originals:
            original.close()
    for of_program in figures.values():
        begin = (of_program[name] for name in ("build_seconds", "train_first_seconds", "train_second_seconds"))
        of_program["first_20_train_steps_seconds"] = sum(begin) + 18 * of_program["train_seconds"]["median"]
    return figures


def print_comparison(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a column for each program."""
    rows = []
    for figure in next(iter(figures.values())):
        values = [of_program[figure] for of_program in figures.values()]
        numbers = [value["median"] if isinstance(value, dict) else value for value in values]
        rows.append([figure.replace("_", " "), *(f"{number:.3f}" for number in numbers)])
    print_table(("taking turns, medians", *figures), rows)


def our_steps(config: Config, metadata: Metadata, batches: Sequence[HostBatch], mesh: Mesh) -> tuple[Stepper, float]:
    """Return our program in the form of `Original.step`, and the seconds that building it took."""
    start = time.perf_counter()
    placed = itertools.cycle([place_batch(batch, mesh) for batch in batches])
    state = jax.block_until_ready(make_state(config, metadata, mesh))
    train_step: Any = make_train_step(config, metadata, mesh)
    short = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=1))
    evaluation_step: Any = make_evaluation_step(short, mesh)
    build_seconds = time.perf_counter() - start

    def step(kind: str) -> float:
        nonlocal state
        if kind == "train":
            (state, _), seconds = timed(train_step, state, next(placed))
        else:
            _, seconds = timed(evaluation_step, Weights(state.model, state.puzzle_table), next(placed))
        return seconds

    return step, build_seconds
