"""The quickstart: generated puzzles, a small network, a few minutes on any machine, and a puzzle solved on screen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from trm.checkpoints.format import load_weights
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set
from trm.show.terminal import draw_reasoning
from trm.solving.reason import answer_every_step
from trm.training.checkpoints import list_checkpoints
from trm.training.experiment import config as read_experiment
from trm.training.run import Outcome, train


def quickstart(
    run: Path, devices: int | None, console: Console, settings: Sequence[str] = (), overwrite: bool = False
) -> Outcome:
    """Train on 6x6 Sudokus from scratch, evaluate on puzzles not seen in training, draw one being solved.

    On all devices, or the first so many; on one, where the batch cannot be cut evenly. Raises InputError when the run
    folder holds anything, unless `overwrite` and it holds a run, which is then replaced.
    """
    config = read_experiment("quickstart", [f"data.path={run / 'data'}", *settings])
    mesh = make_mesh(devices)
    if config.train.global_batch_size % mesh.size:
        mesh = make_mesh(1)
    _clear(run, overwrite)
    _build_puzzles(run / "data", console)
    console.print(
        f"training a network on them; each is thought over in {config.halting.halt_max_steps} supervision steps",
        highlight=False,
    )
    outcome = train(config, run, mesh, console=console)
    if outcome.reports and outcome.weights_path:
        _show(outcome, outcome.weights_path, config, console)
    return outcome


def _clear(run: Path, overwrite: bool) -> None:
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: found something that is no run, expected a new or empty folder (-o DIR)")
    if not overwrite:
        raise InputError(f"{run}: already holds a run, expected a new folder (-o DIR), or --overwrite to replace it")
    for path in [run / "metrics.jsonl", *list_checkpoints(run), run / "best.safetensors", run / "weights.safetensors"]:
        path.unlink(missing_ok=True)


def _build_puzzles(directory: Path, console: Console) -> None:
    tables = {split: sudoku_text.read_csv(bundled_csv(f"sudoku-6x6-{split}.csv.gz")) for split in ("train", "test")}
    rng = np.random.default_rng(0)
    splits = {
        "train": sudoku_build.build_split("train", tables["train"], rng, num_aug=100),
        "test": sudoku_build.build_split("test", tables["test"], rng),
    }
    write_puzzle_set(directory, splits, ["<blank>"], overwrite=True)
    console.print(
        f"puzzles: {len(tables['train'].ratings)} 6x6 Sudokus with 100 rearrangements of each to train on, "
        f"{len(tables['test'].ratings)} others to test",
        highlight=False,
    )


def _show(outcome: Outcome, weights_path: Path, config: Config, console: Console) -> None:
    report = outcome.reports["all"]
    weights, _ = load_weights(weights_path)
    test = read_puzzle_set(config.data.test_paths[0], "test")
    arrays, kind = test.sets["all"], kind_of(test.metadata)
    tokens, labels = arrays.inputs[:64].astype(np.int32), arrays.labels[:64].astype(np.int32)
    answers = answer_every_step(weights, config, tokens, np.zeros(len(tokens), np.int32))
    # Of the puzzles it solves, the one that took the longest to get right is the one to watch.
    wrong = answers.predictions != labels
    solved_at_last = ~wrong[-1].any(axis=-1)
    steps_with_errors = np.where(solved_at_last, wrong.any(axis=-1).sum(axis=0), -1)
    chosen = int(steps_with_errors.argmax())

    console.print("\nA puzzle it has never seen, after each supervision step that changed the answer:\n")
    picture = draw_reasoning(kind, tokens[chosen], answers.predictions[:, chosen], labels[chosen], console.width)
    console.print(picture, highlight=False)
    console.print(
        f"\nUnseen puzzles solved exactly: {report.metrics['exact_accuracy']:.1%} of {report.examples}"
        f" (cells right: {report.metrics['accuracy']:.2%})",
        highlight=False,
    )
    console.print(
        f"\nThe trained network is in {weights_path}. Next:\n"
        f"  trm solve {weights_path} {kind.format(tokens[0])}\n"
        f"  trm info {weights_path}\n"
        f"  trm train sudoku_mlp --set data.path=DIR --dry-run",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
