"""Measure the counting of votes on ARC: what leaves is the time that a whole evaluation's predictions take.

    python scripts/benchmark.py votes

The tasks are made up: grids of random sizes and colours, each seen through as many augmentations. Half of the
predictions are right, the others differ in a few cells, so that there are many candidates to tell apart.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from trm.evaluation.arc import count_votes, merge, pass_at, rank, submission
from trm.evaluation.report import Answered
from trm.puzzles.kinds.arc.grids import (
    ARC_SIDE,
    VOCAB_SIZE,
    Augmentation,
    Grid,
    Pair,
    Task,
    name_augmentation,
    to_frame,
)
from trm.puzzles.kinds.dihedral import TRANSFORMS

votes_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)

WRONG_CELLS = 0.003
"""Share of cells that differ in a wrong prediction."""


@votes_app.command("votes", epilog="Example: python scripts/benchmark.py votes --tasks 400 --views 1000")
def votes_command(
    tasks: Annotated[int, typer.Option(help="Tasks, each with one test input.", min=1)] = 400,
    views: Annotated[int, typer.Option(help="Augmentations of each.", min=1)] = 1000,
    batch_size: Annotated[int, typer.Option(help="Predictions that are counted at a time.", min=1)] = 768,
    seed: Annotated[int, typer.Option(help="Of tasks and predictions.", min=0)] = 0,
) -> None:
    """Time the votes of a set of tasks: counting batch by batch, merging, ranking, pass@K and the submission."""
    rng = np.random.default_rng(seed)
    made = [Task(f"task{i}", [Pair(_grid(rng), _grid(rng), True)], {}) for i in range(tasks)]
    parts, counting = [], 0.0
    for batch, names in _predictions(made, views, batch_size, rng):
        start = time.perf_counter()
        parts.append(count_votes(batch, names, blank_identifier_id=-1))
        counting += time.perf_counter() - start
    start = time.perf_counter()
    rankings = rank(merge(parts), made)
    passed = pass_at(rankings)
    submission(rankings)
    ranking = time.perf_counter() - start
    figures = {
        "predictions": tasks * views,
        "candidates": sum(len(test.candidates) for tests in rankings.values() for test in tests),
        "counting_seconds": round(counting, 2),
        "ranking_seconds": round(ranking, 2),
        "seconds": round(counting + ranking, 2),
    }
    console.print(", ".join(f"{key.replace('_', ' ')}: {value:,}" for key, value in figures.items()), highlight=False)
    machine = {"cpu_cores": os.cpu_count(), "date": datetime.now().astimezone().isoformat(timespec="seconds")}
    print(json.dumps(figures | passed | machine))


def _grid(rng: np.random.Generator) -> Grid:
    return rng.integers(10, size=rng.integers(3, ARC_SIDE + 1, size=2)).astype(np.uint8)


def _predictions(
    tasks: list[Task], views: int, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Answered, list[str]]]:
    """Yield batches with the names of their augmentations."""
    for task in tasks:
        pair = task.pairs[0]
        transforms = rng.integers(TRANSFORMS, size=views).tolist()
        colors = rng.permuted(np.tile(np.arange(10, dtype=np.uint8), (views, 1)), axis=1)
        augmentations = list(map(Augmentation, transforms, colors))
        names = [name_augmentation(task.name, augmentation) for augmentation in augmentations]
        inputs, answers = (
            np.stack([to_frame(augmentation.apply(grid)) for augmentation in augmentations]).astype(np.int32)
            for grid in (pair.input, pair.output)
        )
        wrong = (rng.random(answers.shape) < WRONG_CELLS) & (rng.random(views) < 0.5)[:, None]
        predictions = np.where(wrong, rng.integers(VOCAB_SIZE, size=answers.shape), answers).astype(np.int32)
        q_halt_logits = rng.normal(size=views).astype(np.float32)
        for start in range(0, views, batch_size):
            part = np.arange(start, min(start + batch_size, views))
            yield Answered(part, inputs[part], predictions[part], q_halt_logits[part]), names
