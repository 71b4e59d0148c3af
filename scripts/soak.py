"""Soak: a run of many tiny steps with evaluations and checkpoints, watched for growth.

Entry: `python scripts/soak.py OUT`. It samples resident memory, open files, threads, the metrics file and the log, and
draws them (extra `scripts`). It exits with 1 when memory grows by more than 5 % after the warm-up, when the number of
files or threads grows, or when the log grows by more than its lines of progress.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from records import Recorder, hardware
from rich.console import Console
from starting import start
from tiny import tiny_config

from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.storage.files import atomic_write
from trm.training.run import train
from trm.training.saving.writer import SAVE_THREAD

console = Console(soft_wrap=True, highlight=False)

WARM_UP = 0.1
"""Share of the steps in which caches fill."""
MAX_GROWTH = 0.05
SAMPLES = 400


class Sample(NamedTuple):
    """What the process holds after a step."""

    step: int
    seconds: float
    memory_mb: float
    files: int
    threads: int
    """Without the one that saves, which comes and goes."""
    metrics_bytes: int
    log_bytes: int


class Watch:
    """A hook that samples the process."""

    def __init__(self, run: Path, log: StringIO, every: int):
        self._run, self._log, self._every, self._began = run, log, every, time.monotonic()
        self.samples: list[Sample] = []

    def __call__(self, line: dict[str, Any]) -> None:
        if line["step"] % self._every or "train/lm_loss" not in line:
            return
        self.samples.append(
            Sample(
                line["step"],
                time.monotonic() - self._began,
                int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
                len(self._files()),
                len(os.listdir("/proc/self/task")) - sum(t.name == SAVE_THREAD for t in threading.enumerate()),
                (self._run / "metrics.jsonl").stat().st_size,
                len(self._log.getvalue()),
            )
        )

    def _files(self) -> list[str]:
        files = []
        for name in os.listdir("/proc/self/fd"):
            try:
                files.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:
                # The listing itself, which is closed again.
                continue
        # What is being written at this moment is closed when it is in place.
        return [
            file for file in files if not file.endswith(".tmp") and not file.startswith(f"{self._run.absolute()}/check")
        ]


def main(
    out: Annotated[Path, typer.Argument(help="Folder for puzzles, run and plot.")],
    steps: Annotated[int, typer.Option(help="Steps.", min=100)] = 20_000,
    eval_steps: Annotated[int, typer.Option(help="Steps between evaluations.", min=5)] = 500,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 50,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the samples.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Append the result, as a line of JSON.")
    ] = None,
) -> None:
    """Train and watch."""
    mesh, run = make_mesh(1), out / "run"
    recorder = Recorder("soak", json_out, hardware(mesh))
    config = tiny_config(out / "data", steps, eval_steps, checkpoint_steps)
    log = StringIO()
    watch = Watch(run, log, max(1, steps // SAMPLES))
    train(config, run, mesh, hooks=[watch], console=Console(file=log, width=120))
    figures = summarise(watch.samples, steps)
    recorder.add(
        figures,
        seed=config.train.seed,
        steps=steps,
        evaluations=steps // eval_steps,
        checkpoints=steps // checkpoint_steps,
    )
    for name, value in figures.items():
        console.print(f"{name}: {value:,.4g}")
    if plot:
        draw(watch.samples, plot)
    if complaints := judge(figures):
        console.print("\n".join(complaints))
        sys.exit(1)


def summarise(samples: Sequence[Sample], steps: int) -> dict[str, float]:
    """Return how much the process held after the warm-up, and at the end."""
    warm = [sample for sample in samples if sample.step >= WARM_UP * steps]
    tenth = max(1, len(warm) // 10)
    # The largest in the first and the last tenth: what is held for a moment comes and goes.
    first, last = (max(sample.memory_mb for sample in part) for part in (warm[:tenth], warm[-tenth:]))
    return {
        "minutes": samples[-1].seconds / 60,
        "memory_warm_mb": first,
        "memory_end_mb": last,
        "memory_growth": last / first - 1,
        "files_warm": max(sample.files for sample in warm[:tenth]),
        "files_end": max(sample.files for sample in warm[-tenth:]),
        "threads_warm": max(sample.threads for sample in warm[:tenth]),
        "threads_end": max(sample.threads for sample in warm[-tenth:]),
        "metrics_bytes_per_step": samples[-1].metrics_bytes / samples[-1].step,
        "log_bytes_per_minute": samples[-1].log_bytes / (samples[-1].seconds / 60),
        "log_bytes": samples[-1].log_bytes,
    }


def judge(figures: dict[str, float]) -> list[str]:
    """Return what grew."""
    complaints = []
    if figures["memory_growth"] > MAX_GROWTH:
        complaints.append(f"memory grew by {figures['memory_growth']:.1%}")
    for name in ("files", "threads"):
        if figures[f"{name}_end"] > figures[f"{name}_warm"]:
            complaints.append(
                f"{name}: {figures[f'{name}_warm']} after the warm-up, {figures[f'{name}_end']} at the end"
            )
    if figures["log_bytes"] > 100_000:
        complaints.append(f"the log has {figures['log_bytes']:,} bytes")
    return complaints


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw memory, files and threads over the steps as an SVG."""
    try:
        import matplotlib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--plot: the package matplotlib is missing, expected `pip install 'trm[scripts]'`") from error
    matplotlib.use("svg")
    # The same samples make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "trm"
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
    for axis, name, title in zip(
        axes, ("memory_mb", "files", "threads"), ("resident memory, MB", "open files", "threads"), strict=True
    ):
        axis.plot([sample.step for sample in samples], [getattr(sample, name) for sample in samples], linewidth=1)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.set_ylim(bottom=0, top=1.2 * max(getattr(sample, name) for sample in samples))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    start(main)
