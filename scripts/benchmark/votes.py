"""Time of counting a whole ARC evaluation's votes. Entry: `votes_command`.

The tasks are random: grids of random sizes and colours, each with the same number of augmentations. Half of the
predictions are right; the others differ in a few cells, so that there are many candidates to count.
"""

import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer
from records import Recorder, cpu_hardware

from benchmark.options import JsonOut
from benchmark.printing import console
from trm.evaluation.arc import pass_at, submission
from trm.evaluation.report import Predictions
from trm.puzzles.kinds.arc.augmentations import Augmentation, name_augmentation
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, VOCAB_SIZE, Grid
from trm.puzzles.kinds.arc.tasks import Pair, Task
from trm.puzzles.kinds.arc.votes import count_votes, merge, rank
from trm.puzzles.kinds.dihedral import TRANSFORMS
from trm.solving.reason import confidence

WRONG_CELLS = 0.003
"""Share of cells that differ in a wrong prediction."""


def votes_command(
    tasks: Annotated[int, typer.Option(help="Tasks, each with one test input.", min=1)] = 400,
    views: Annotated[int, typer.Option(help="Augmentations of each task.", min=1)] = 1000,
    batch_size: Annotated[int, typer.Option(help="Predictions counted at a time.", min=1)] = 768,
    seed: Annotated[int, typer.Option(help="Seed of tasks and predictions.", min=0)] = 0,
    json_out: JsonOut = None,
) -> None:
    """Time the votes of random tasks: counting batch by batch, merging, ranking, pass@K and the submission."""
    recorder = Recorder("votes", json_out, cpu_hardware())
    rng = np.random.default_rng(seed)
    made = [Task(f"task{i}", [Pair(_grid(rng), _grid(rng), True)], {}) for i in range(tasks)]
    parts, counting = [], 0.0
    for batch, names in _predictions(made, views, batch_size, rng):
        start = time.perf_counter()
        parts.append(count_votes(*batch[:3], confidence(batch.q_halt_logits), names, blank_identifier_id=-1))
        counting += time.perf_counter() - start
    start = time.perf_counter()
    rankings = rank(merge(parts), made)
    passed = pass_at(rankings)
    submission(rankings)
    ranking = time.perf_counter() - start
    figures: dict[str, float] = {
        "predictions": tasks * views,
        "candidates": sum(len(test.candidates) for tests in rankings.values() for test in tests),
        "counting_seconds": counting,
        "ranking_seconds": ranking,
        "seconds": counting + ranking,
    }
    recorder.add(figures | passed, seed=seed, tasks=tasks, views=views, batch_size=batch_size)
    console.print(", ".join(f"{key.replace('_', ' ')}: {value:,.6g}" for key, value in (figures | passed).items()))


def _grid(rng: np.random.Generator) -> Grid:
    return rng.integers(10, size=rng.integers(3, ARC_SIDE + 1, size=2)).astype(np.uint8)


def _predictions(
    tasks: list[Task], views: int, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Predictions, list[str]]]:
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
            yield Predictions(part, inputs[part], predictions[part], q_halt_logits[part]), names
