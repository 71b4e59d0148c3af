"""`trm train`: train a network in a run folder."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from jax.sharding import Mesh

from trm.cli.failures import failure_of
from trm.cli.options import Coordinator, Devices, Distributed, Plain, Process, Processes, Quiet, Settings, Track
from trm.cli.read_config import read_and_warn
from trm.cli.reports import print_report
from trm.configuration.rules import warnings_of
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.distributed import Launch, joined
from trm.parallel.environment import make_deterministic
from trm.parallel.mesh import make_mesh
from trm.parallel.processes import decide_on_first, is_first
from trm.show.console import console, print_lines, print_rows, print_warning
from trm.storage.bundled import config_path, weights_path
from trm.training.estimate import estimate
from trm.training.nonfinite import OnNonfinite
from trm.training.run import Outcome, train
from trm.training.sets import open_sets
from trm.training.signals import is_compiling
from trm.training.start_from import WarmStart
from trm.training.tracking.choose import make_trackers
from trm.training.tracking.profile import Profile
from trm.training.tracking.progress import Show


def train_command(
    config: Annotated[str, typer.Argument(help="TOML file, run folder, or name of a bundled configuration.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/NAME of the configuration")
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint in the run folder.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT", help="Start from these weights (also hf://OWNER/REPOSITORY/FILE from the hub)."
        ),
    ] = None,
    init_data: Annotated[
        Path | None,
        typer.Option(
            help="Puzzle set that --init was trained on: puzzle embeddings are matched by name.",
            show_default="by number if the names are the same, else their mean",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print size, steps and memory; train nothing.")] = False,
    devices: Devices = None,
    track: Track = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="The same as --track wandb, to this project.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Bit-identical results on a GPU too; a little slower.")
    ] = False,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    plain: Plain = False,
    quiet: Quiet = False,
    profile: Annotated[
        int | None,
        typer.Option(metavar="N", help="Write a JAX profile of N steps after compilation to the run folder.", min=1),
    ] = None,
    on_nonfinite: Annotated[
        OnNonfinite,
        typer.Option(
            help="When a loss or gradient is not finite: stop, or rewind to the last checkpoint and skip that step."
        ),
    ] = "stop",
) -> int:
    """Train a network on all devices.

    Stopped by a signal, it saves a checkpoint and exits with 128 + the signal's number.

    Example: `trm train sudoku_mlp --set data.path=data/sudoku`
    """
    if deterministic:
        make_deterministic()
    with joined(Launch.of_options(distributed, coordinator, processes, process), failure_of):
        path = config_path(config)
        if out is None:
            # Only a run folder: not any folder with the name of a configuration, nor a user's own config.toml.
            is_of_run = path == Path(config) / "config.toml" or (
                path.name == "config.toml" and (path.parent / "checkpoints").is_dir()
            )
            out = path.parent if is_of_run else Path("runs") / path.stem
        experiment = _with_dtype_of_first(read_and_warn(config, settings))
        if init_data and not init:
            raise InputError("--init-data: found without --init, expected also the weights that were trained on it")
        mesh = make_mesh(devices)
        start = WarmStart(weights_path(init), init_data) if init else None
        if dry_run:
            if is_first():
                _print_estimate(experiment, mesh)
            return 0
        hooks = make_trackers(track or (), out, experiment, wandb)
        said: list[str] = []
        if profile:
            # The line is printed after the end of the live view.
            hooks.append(Profile(out, profile, said.append))
        show = show_of(plain, quiet)
        outcome = train(
            experiment, out, mesh, resume, start, hooks, on_nonfinite=on_nonfinite, console=console, show=show
        )
        if not is_first():
            return exit_code(outcome)
        for line in said:
            print_lines(line)
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
        return exit_code(outcome)


def show_of(plain: bool, quiet: bool) -> Show:
    """Return how a run shows its progress."""
    return "quiet" if quiet else "plain" if plain else "live"


def exit_code(outcome: Outcome) -> int:
    """Return 0, or 128 + the signal that stopped a run, as a shell does, so that a supervisor sees an unfinished
    run."""
    code = 128 + outcome.signal if outcome.signal else 0
    if code and is_compiling():
        # Python would wait for the compiler, or crash with it.
        sys.stdout.flush()
        os._exit(code)
    return code


def _with_dtype_of_first(config: Config) -> Config:
    """Return a configuration with the compute dtype of process 0: "auto" may be another one in other processes."""
    dtype = decide_on_first(lambda: config.model.forward_dtype)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, forward_dtype=dtype))


def _print_estimate(config: Config, mesh: Mesh) -> None:
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
        print_warning(line)
