"""The command line: reads options, calls the library, prints what comes back. No computation happens here."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.table import Table

from trm.checkpoints.format import describe
from trm.cli.config import config_app
from trm.cli.data import data_app
from trm.cli.data_options import Overwrite
from trm.cli.evaluate import evaluate_app, print_report
from trm.cli.options import Devices, Settings
from trm.cli.quickstart import quickstart
from trm.cli.solve import solve_app
from trm.cli.weights import weights_app
from trm.configuration.reading import config_to_toml
from trm.configuration.rules import warnings_of
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import checksums, read_splits, token_histogram
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import read_examples
from trm.puzzles.metadata import IGNORED_LABEL
from trm.show.console import console, print_lines, print_rows
from trm.show.terminal import draw_example, side_by_side
from trm.storage.bundled import ENDING, config_path, weights_names, weights_path
from trm.training.estimate import estimate
from trm.training.experiment import config as read_experiment
from trm.training.run import Outcome, train
from trm.training.sets import open_sets
from trm.training.signals import is_compiling
from trm.training.start_from import WarmStart
from trm.training.tracking.wandb import WandbTracker

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="The Tiny Recursive Model: a tiny network that recurses on its own answer. Start with `trm quickstart`.",
)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")
app.add_typer(evaluate_app)
app.add_typer(solve_app)
app.add_typer(weights_app)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2, a failed run in one line and exit code 1."""
    try:
        # Not standalone: typer would frame its own complaints in a box of several lines.
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _fail(error, code=2)
    except _UsageError as error:
        if message := error.format_message():
            _fail(message, code=2)
        sys.exit(2)  # No command was given: the help is on the screen.
    except typer.Abort:
        _fail("interrupted", code=130)
    except FloatingPointError as error:
        _fail(error, code=1)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _fail("out of device memory: try a larger --set train.microbatches=N or a smaller batch", code=1)
    except BrokenPipeError:
        # The reader has what it wanted (`| head`). Python would complain once more while closing its output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if not error.filename:
            raise
        _fail(f"{error.filename}: {error.strerror}", code=2)
    else:
        sys.exit(code if isinstance(code, int) else 0)


_UsageError: Any = typer.BadParameter.__bases__[0]
"""What typer raises for a wrong option or argument; it hands on only this subclass by name."""


def _fail(error: object, code: int) -> None:
    print("error: " + " ".join(str(error).split("\n")), file=sys.stderr)
    sys.exit(code)


@app.command("quickstart")
def quickstart_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("runs/quickstart"),
    devices: Devices = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
) -> int:
    """Train a small network on 6x6 Sudokus in under three minutes and watch it solve one it has never seen.

    Example: `trm quickstart`
    """
    outcome = quickstart(out, devices, console, settings or [], overwrite)
    if outcome.stopped:
        print_lines(f"stopped: {outcome.stopped} (trm train {out} --resume)")
    return _exit_code(outcome)


@app.command("train")
def train_command(
    config: Annotated[str, typer.Argument(help="TOML file, run folder, or name of a bundled configuration.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/NAME of the configuration")
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Start from these weights (hf://OWNER/REPOSITORY/FILE from the hub)."),
    ] = None,
    init_data: Annotated[
        Path | None,
        typer.Option(
            help="Puzzle set that --init was trained on: take puzzle embeddings over by name.",
            show_default="all of them if there are as many, else their mean",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print size, steps and memory; train nothing.")] = False,
    devices: Devices = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log to Weights & Biases too (extra `wandb`).")
    ] = None,
) -> int:
    """Train a network, on all devices. Stopped by a signal, it saves and exits with 128 + the signal's number.

    Example: `trm train sudoku_mlp --set data.path=data/sudoku`
    """
    path = config_path(config)
    if out is None:
        # Not any folder that is called like a configuration.
        out = Path(config) if path == Path(config) / "config.toml" else Path("runs") / path.stem
    experiment = read_experiment(path, settings or [])
    if init_data and not init:
        raise InputError("--init-data: found no --init beside it, expected the weights that were trained on it")
    mesh = make_mesh(devices)
    start = WarmStart(weights_path(init), init_data) if init else None
    if dry_run:
        _print_estimate(experiment, mesh)
        return 0
    hooks = [WandbTracker(wandb, out.name, experiment)] if wandb is not None else []
    outcome = train(experiment, out, mesh, resume, start, hooks, console=console)
    if outcome.stopped:
        print_lines(f"stopped: {outcome.stopped}")
    if outcome.weights_path:
        print_lines(f"step {outcome.step}: weights in {outcome.weights_path}")
    if outcome.best.step:
        print_lines(
            f"best.safetensors: step {outcome.best.step}, {experiment.train.best_metric} "
            f"{abs(outcome.best.score):.4f}, chosen on the {outcome.chosen_on} set"
        )
    if experiment.data.validation and outcome.weights_path:
        print_lines("these best weights on the test set:")
    for name, report in outcome.reports.items():
        print_report(name, report)
    return _exit_code(outcome)


@app.command("info")
def info_command(
    path: Annotated[str, typer.Argument(help="Checkpoint, weights, puzzle set, run folder or configuration.")],
) -> None:
    """Say what is in a checkpoint, a configuration or a puzzle set.

    Example: `trm info runs/quickstart/weights.safetensors`
    """
    if path.endswith(ENDING) or (path in weights_names() and not os.path.exists(path)):
        _print_checkpoint(path)
    elif os.path.isdir(path) and not os.path.exists(os.path.join(path, "config.toml")):
        _print_puzzle_set(Path(path))
    else:
        print_lines(config_to_toml(read_experiment(path)).rstrip())


def _print_estimate(config: Config, mesh: jax.sharding.Mesh) -> None:
    train_set = open_sets(config).train
    sizes = estimate(config, train_set.metadata, mesh)
    device = mesh.devices.flat[0]
    rows = {
        "parameters": f"{sizes.parameters:,}",
        "puzzle embeddings": f"{sizes.puzzle_table:,}",
        "steps": f"{sizes.steps:,}",
        "examples": f"{sizes.examples:,} of {train_set.examples:,} stored, "
        f"{train_set.metadata.examples_per_epoch:,.0f} an epoch",
        "devices": f"{mesh.size} x {device.device_kind} ({device.platform})",
        "memory, state": f"{sizes.state_bytes / 1e6:,.0f} MB per device",
        "memory, a step": f"{sizes.temporary_bytes / 1e6:,.0f} MB per device",
    }
    print_rows(rows)
    for line in warnings_of(config, sizes.steps):
        print_lines(f"warning: {line}")


def _print_checkpoint(path: str) -> None:
    description, arrays = describe(path)
    print_rows(
        {
            "kind": description.kind,
            "step": description.step,
            "numbers": f"{sum(int(np.prod(shape)) for _, shape in arrays.values()):,}",
            "written by": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
            "puzzle set": json.dumps(dataclasses.asdict(description.metadata)),
        }
    )
    print_lines("\n" + config_to_toml(description.config))
    print_rows({name: f"{dtype} {shape}" for name, (dtype, shape) in arrays.items()})


def _print_puzzle_set(directory: Path) -> None:
    splits = read_splits(directory)
    names = read_identifiers(directory)
    for puzzles in splits:
        print_lines(f"{puzzles.name}: {puzzles.examples:,} examples")
        print_rows({f"  {name}": value for name, value in dataclasses.asdict(puzzles.metadata).items()})
        counts = token_histogram(puzzles)
        table = Table("  token", *counts, box=None)
        for token, row in enumerate(zip(*counts.values(), strict=True)):
            table.add_row(f"  {token}", *(f"{count:,}" for count in row))
        console.print(table, highlight=False)
        _print_example(puzzles)
    print_lines(f"identifiers: {len(names):,}, first {names[0]!r}, last {names[-1]!r}")
    print_lines("sha256, bytes, file")
    for name, (size, digest) in checksums(directory).items():
        print_lines(f"{digest}  {size:>13,}  {name}")


def _print_example(puzzles: PuzzleSet) -> None:
    arrays = next(iter(puzzles.sets.values()))
    example = read_examples(puzzles, arrays, np.zeros(1, np.int64), np.zeros(1, np.int64))
    question = example.inputs[0]
    answer = np.where(example.labels[0] == IGNORED_LABEL, puzzles.metadata.pad_id, example.labels[0])
    drawings = draw_example(kind_of(puzzles.metadata), question, answer)
    if drawings:
        console.print(side_by_side(drawings, console.width), highlight=False)


def _exit_code(outcome: Outcome) -> int:
    """Return 0, or 128 + the signal that stopped a run, as a shell does: a supervisor sees that it is not finished."""
    code = 128 + outcome.signal if outcome.signal else 0
    if code and is_compiling():
        # Python would wait for the compiler, or crash with it.
        sys.stdout.flush()
        os._exit(code)
    return code
