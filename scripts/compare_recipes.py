"""Compare the plain recipe with the fast one on small Sudokus. Entry: `python scripts/compare_recipes.py OUT`.

Both recipes train the network of the quickstart on the same puzzles, each with a schedule as long as its run; the fast
one takes half the steps. Finished runs in OUT are not trained again. `--json` records each run; `python scripts/tables`
makes the table.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from curves import RECIPE_COLORS, draw, recipe_panels
from jax.sharding import Mesh
from records import Recorder, hardware
from rich.console import Console
from starting import start

from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku.generate import generate_many
from trm.puzzles.kinds.tables import Table
from trm.puzzles.writing import write_puzzle_set
from trm.storage.bundled import config_path
from trm.storage.files import atomic_write
from trm.training.run import train

console = Console(soft_wrap=True, highlight=False)


class Board(NamedTuple):
    """Puzzles to compare on."""

    size: int
    clues: int
    """Clues of each puzzle; 0: as few as leave one solution."""
    plain_steps: int
    """Steps of the plain recipe, in multiples of twice the steps of an epoch."""

    @property
    def name(self) -> str:
        return f"{self.size}x{self.size}"


BATCH = 64
TRAIN_PUZZLES, TEST_PUZZLES = 15 * BATCH, 4 * BATCH
BOARDS = (Board(4, 0, 120), Board(6, 16, 300), Board(9, 62, 150))
EVALUATIONS = 5

PLAIN = ()
"""Settings of the plain recipe: the quickstart's own (AdamATan2, stablemax, a cosine to a tenth, a moving average)."""
FAST = (
    "model.gate=norm",
    "model.register=true",
    "halting.refill=queue",
    "loss.type=softmax_cross_entropy",
    "loss.label_smoothing=0.2",
    "loss.halting_weight=0.05",
    "optimizer.type=muon",
    # At width 512 and 8,000 steps these three are 0.02, 1e-4 and 1.0.
    "optimizer.muon_lr=0.08",
    "optimizer.lr=1e-2",
    "optimizer.weight_decay=0.1",
    "optimizer.max_gradient_norm=1.0",
    "optimizer.lr_warmup_steps=0",
    "optimizer.lr_min_ratio=0.0",
    "optimizer.ema_rate=0.9",
)
"""Settings of the fast recipe: those of `sudoku_fast`, with rates for a small network and few steps."""


class Recipe(NamedTuple):
    """Settings of a training run, with a name."""

    name: str
    settings: Sequence[str]
    share: float
    """Steps, as a share of the plain recipe's."""


RECIPES = (Recipe("plain", PLAIN, 1.0), Recipe("fast", FAST, 0.5))


def main(
    out: Annotated[Path, typer.Argument(help="Folder for puzzles, runs and plot.")],
    sizes: Annotated[list[int] | None, typer.Option("--size", help="May be repeated.", show_default="4 6 9")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each recipe.", min=1)] = 3,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Append the result of each run, as a line of JSON.")
    ] = None,
) -> None:
    """Train both recipes with several seeds, print exact accuracies and draw OUT/recipes.svg."""
    known = [board.size for board in BOARDS]
    if unknown := [size for size in sizes or [] if size not in known]:
        raise InputError(f"--size: found {unknown[0]}, expected one of {', '.join(map(str, known))}")
    boards = [board for board in BOARDS if not sizes or board.size in sizes]
    mesh = make_mesh(1)
    recorder = Recorder("recipes", json_out, hardware(mesh))
    records = []
    for board in boards:
        data = build_puzzles(board, out)
        for seed in range(seeds):
            for recipe in RECIPES:
                evaluations = run(board, recipe, seed, data, out, mesh)
                steps, accuracy = evaluations[-1]
                figures = {
                    "steps": steps,
                    "exact_accuracy": accuracy,
                    "evaluations": evaluations,
                    "puzzles": TEST_PUZZLES,
                }
                about = {"board": board.name, "clues": board.clues, "recipe": recipe.name}
                records.append(recorder.add(figures, config="quickstart", settings=recipe.settings, seed=seed, **about))
                console.print(f"{accuracy:.1%} exact after {steps} steps")
    with atomic_write(out / "recipes.svg") as temporary:
        temporary.write_text(draw(recipe_panels(records), RECIPE_COLORS), encoding="utf-8")


def build_puzzles(board: Board, out: Path) -> Path:
    """Generate different puzzles, unless the set exists."""
    directory = out / "data" / board.name
    if not directory.exists():
        puzzles = list(generate_many(board.size, TRAIN_PUZZLES + TEST_PUZZLES, seed=0, keep_clues=board.clues))
        table = Table(*(np.array(column) for column in zip(*puzzles, strict=True)))
        parts = {"train": slice(TRAIN_PUZZLES), "test": slice(TRAIN_PUZZLES, None)}
        splits = {
            name: sudoku_build.build_split(
                name,
                Table(*(column[part] for column in table)),
                np.random.default_rng(0),
                online_augmentation=name == "train",
            )
            for name, part in parts.items()
        }
        write_puzzle_set(directory, splits, ["<blank>"])
    return directory


def run(board: Board, recipe: Recipe, seed: int, data: Path, out: Path, mesh: Mesh) -> list[tuple[int, float]]:
    """Train one recipe with one seed, or the rest of it; return the exact accuracy after some of the steps."""
    folder = out / f"{board.name}-{recipe.name}-{seed}"
    console.print(f"{folder}: {round(board.plain_steps * recipe.share)} steps")
    train(configure(board, recipe, seed, data), folder, mesh, resume=True, console=Console(quiet=True))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return list({line["step"]: line["all/exact_accuracy"] for line in lines if "all/exact_accuracy" in line}.items())


def configure(board: Board, recipe: Recipe, seed: int, data: Path) -> Config:
    """Return the quickstart's configuration with the recipe's settings."""
    epochs = round(board.plain_steps * recipe.share * BATCH / TRAIN_PUZZLES)
    settings = {
        "data.path": str(data),
        "train.seed": seed,
        "train.global_batch_size": BATCH,
        "train.microbatches": 1,
        "train.epochs": epochs,
        "train.eval_interval": max(1, epochs // EVALUATIONS),
        "train.keep_checkpoints": 1,
    }
    lines = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return read_config(config_path("quickstart"), [*lines, *recipe.settings])


if __name__ == "__main__":
    start(main)
