"""`trm quickstart`: train a small network in a few minutes on any machine, and show a puzzle that it solves."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trm.cli.options import Devices, Overwrite, Settings
from trm.cli.train import exit_code
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.parallel.programs import keep_programs
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set
from trm.show.console import console, print_lines
from trm.show.terminal import draw_reasoning
from trm.solving.reason import answer_every_step
from trm.solving.trained_model import load
from trm.storage.bundled import is_run
from trm.storage.locks import FolderLock
from trm.training.checkpoints import list_checkpoints
from trm.training.experiment import config as read_experiment
from trm.training.run import Outcome, train

LEFTOVER = re.compile(r"\.lock|\.data\.\d+\.(tmp|old)")
"""Name of a file or folder that a quickstart leaves when it is killed: its lock, or puzzles that are not whole."""


def quickstart_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("runs/quickstart"),
    devices: Devices = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
) -> int:
    """Train a small network on 6x6 Sudokus and watch it solve one that it has never seen.

    Example: `trm quickstart`
    """
    keep_programs()
    config = read_experiment("quickstart_digits", [f"data.path={out / 'data'}", *(settings or [])])
    mesh = make_mesh(devices)
    if config.train.global_batch_size % mesh.size:
        # One device takes any batch.
        mesh = make_mesh(1)
    _check_replaceable(out, overwrite)
    # Against a run that goes on; `train` takes the lock itself.
    with FolderLock(out):
        _clear(out)
        _build_puzzles(out / "data")
    print_lines(
        f"training a network on them in {config.model.forward_dtype}, "
        f"with {config.halting.halt_max_steps} supervision steps for each puzzle"
    )
    outcome = train(config, out, mesh, console=console)
    if outcome.reports and outcome.weights_path:
        _show(outcome, outcome.weights_path, config.data.test_paths[0])
    if outcome.stopped:
        print_lines(f"stopped: {outcome.stopped} (trm train {out} --resume)")
    return exit_code(outcome)


def _check_replaceable(run: Path, overwrite: bool) -> None:
    """Raise InputError for what may not be replaced: all but a run, or what a quickstart that failed early left."""
    if not run.exists():
        return
    held = {path.name for path in run.iterdir() if not LEFTOVER.fullmatch(path.name)} if run.is_dir() else None
    if held == set():
        return
    if not is_run(run) and held != {"data"}:
        raise InputError(f"{run}: found something else than a run, expected a new or empty folder (-o DIR)")
    if not overwrite:
        what = "a run" if is_run(run) else "puzzles"
        raise InputError(f"{run}: already holds {what}, expected a new folder (-o DIR), or --overwrite to replace it")


def _clear(run: Path) -> None:
    for path in [run / "metrics.jsonl", *list_checkpoints(run), run / "best.safetensors", run / "weights.safetensors"]:
        path.unlink(missing_ok=True)


def _build_puzzles(directory: Path) -> None:
    tables = {split: sudoku_text.read_table(bundled_csv(f"sudoku-6x6-{split}.csv.gz")) for split in ("train", "test")}
    rng = np.random.default_rng(0)
    splits = {
        "train": sudoku_build.build_split("train", tables["train"], rng, num_aug=100),
        "test": sudoku_build.build_split("test", tables["test"], rng),
    }
    write_puzzle_set(directory, splits, ["<blank>"], overwrite=True)
    print_lines(
        f"puzzles: {len(tables['train'].ratings)} 6x6 Sudokus with 100 augmentations of each to train on, "
        f"{len(tables['test'].ratings)} others to test"
    )


def _show(outcome: Outcome, weights_path: Path, data: str) -> None:
    report, model = outcome.reports["all"], load(weights_path)
    test = read_puzzle_set(data, "test").sets["all"]
    tokens, labels = test.inputs[:64].astype(np.int32), test.labels[:64].astype(np.int32)
    answers = answer_every_step(model.weights, model.config, tokens, np.zeros(len(tokens), np.int32))
    # Among the puzzles that the model solves, the one that took the most steps.
    wrong = answers.predictions != labels
    solved_at_last = ~wrong[-1].any(axis=-1)
    steps_with_errors = np.where(solved_at_last, wrong.any(axis=-1).sum(axis=0), -1)
    chosen = int(steps_with_errors.argmax())
    print_lines("\nA puzzle it has never seen, after each supervision step that changed the answer:\n")
    by_step = answers.predictions[:, chosen]
    picture = draw_reasoning(model.kind, tokens[chosen], by_step, labels[chosen], console.width)
    console.print(picture, highlight=False)
    print_lines(
        f"\nUnseen puzzles solved exactly: {report.metrics['exact_accuracy']:.1%} of {report.examples}"
        f" (cells right: {report.metrics['accuracy']:.2%})"
    )
    print_lines(
        f"\nThe trained network is in {weights_path}. Next:\n"
        f"  trm solve {weights_path} {model.kind.format(tokens[0])}\n"
        f"  trm info {weights_path}\n"
        f"  trm train sudoku_mlp --set data.path=DIR --dry-run"
    )
