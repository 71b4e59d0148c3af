"""`trm sweep`: a configuration with several seeds and values, one run after another. Entry: `sweep_command`."""

import gc
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.table import Table

from trm.cli.options import Devices, Plain, Quiet, Settings, Track
from trm.cli.train import exit_code, show_of
from trm.parallel.mesh import make_mesh
from trm.parallel.programs import keep_programs
from trm.show.console import console, print_lines, print_warning
from trm.storage.bundled import config_path
from trm.storage.files import atomic_write
from trm.training.run import Outcome, train
from trm.training.sweep import SUMMARY, Trial, parse_grid, plan_sweep, run_sweep, summarise
from trm.training.tracking.choose import make_trackers


def sweep_command(
    config: Annotated[str, typer.Argument(help="TOML file, run folder, or name of a bundled configuration.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the runs.", show_default="runs/NAME-sweep, of the configuration's name"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds for each experiment.", min=1)] = 3,
    settings: Settings = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=VALUE,VALUE",
            help="Values of a key to try; repeated: all combinations.",
        ),
    ] = None,
    devices: Devices = None,
    track: Track = None,
    plain: Plain = False,
    quiet: Quiet = False,
) -> int:
    """Train a configuration with several seeds, and print mean and interval of its score.

    For each experiment it prints `train.best_metric` twice, after the last step and at its best: the mean over the
    seeds, with the 95 % interval of the mean by Student's t. Called again, the command skips finished runs and resumes
    an interrupted one. A run whose numbers are not finite is left out, and the exit code is 1.

    Example: `trm sweep sudoku_mlp --seeds 3 --grid optimizer.lr=1e-4,3e-4 --set data.path=data/sudoku`
    """
    keep_programs()
    path = config_path(config)
    out = out or Path("runs") / f"{Path(config).name if path.name == 'config.toml' else path.stem}-sweep"
    trials = plan_sweep(path, out, seeds, settings or (), parse_grid(grid or ()))
    mesh = make_mesh(devices)

    def train_one(trial: Trial) -> Outcome:
        hooks = make_trackers(track or (), trial.folder, trial.config)
        try:
            return train(
                trial.config, trial.folder, mesh, resume=True, hooks=hooks, console=console, show=show_of(plain, quiet)
            )
        finally:
            # The state of one run must not stay in memory during the next.
            jax.clear_caches()
            gc.collect()

    def say(text: str) -> None:
        if text.startswith("warning: "):
            print_warning(text.removeprefix("warning: "))
        elif not quiet:
            print_lines(text)

    stopped, failed = run_sweep(trials, train_one, say)
    summary = summarise(trials) | {"failed": failed}
    with atomic_write(out / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _print_summary(summary)
    print_lines(f"scores in {out / SUMMARY}; curves: trm plot {out}/*seed-* -o curves.html")
    if stopped:
        print_lines(f"stopped: {stopped.stopped.partition(';')[0]}; the same command goes on")
        return exit_code(stopped)
    return 1 if failed else 0


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    names = [name for name in ("final", "best", "test") if any(name in row for row in summary["experiments"])]
    for name in ("experiment", "seeds", *(f"{name} {summary['metric']}" for name in names)):
        table.add_column(name)
    for row in summary["experiments"]:
        label = " ".join(f"{key}={value}" for key, value in row["settings"].items()) or "all"
        cells = [_cell(row[name]) if name in row else "-" for name in names]
        table.add_row(label, f"{len(row['runs'])} of {row['planned']}", *cells)
    console.print(table, highlight=False, markup=False)


def _cell(score: dict[str, Any]) -> str:
    text = f"{score['mean']:.4f}"
    return text if score["interval"] is None else f"{text} ({score['interval'][0]:.4f} to {score['interval'][1]:.4f})"
