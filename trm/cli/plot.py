"""`trm plot`: curves of runs, as a picture or a page. Entry: `plot_command`."""

from pathlib import Path
from typing import Annotated

import typer

from trm.errors import InputError
from trm.show.console import print_lines, print_warning
from trm.show.curves import Unit, draw, make_panels
from trm.show.html.curves import make_page
from trm.storage.bundled import is_run
from trm.storage.files import atomic_write
from trm.training.tracking.history import read_history

ENDINGS = (".svg", ".png", ".html")


def plot_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; a run may still go on.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Picture or page to write: .svg, .png or .html. An old one is replaced."),
    ] = Path("curves.svg"),
    x: Annotated[Unit, typer.Option("--x", help="What curves are drawn over.")] = "steps",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Name in metrics.jsonl, such as train/lr, or its last part, such as accuracy; may be repeated.",
            show_default="train/lm_loss, exact_accuracy",
        ),
    ] = None,
) -> None:
    """Draw curves of runs beside each other, with seeds of one experiment as mean and band.

    Runs whose configurations differ in nothing but `train.seed` are one line: their mean, with the 95 % interval of the
    mean by Student's t, at the steps that all of them have. Accuracy on validation puzzles is drawn where there are
    any, else on the test set (extra `plot`).

    Example: `trm plot runs/* -o curves.html --x hours`
    """
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"--out: found {out.name!r}, expected a name that ends in {', '.join(ENDINGS)}")
    # One folder named twice is one run.
    named = {run.resolve(): run for folder in runs for run in _runs_in(folder)}
    histories = [read_history(run) for run in named.values()]
    for run in histories:
        for line in run.notes:
            print_warning(line)
    panels = make_panels(histories, metric or (), x)
    picture = draw(panels, x, ".svg" if ending == ".html" else ending)
    if ending == ".html":
        names = ", ".join(run.path.name for run in histories[:4]) + (", …" if len(histories) > 4 else "")
        picture = make_page(picture, panels, f"Curves of {names}").encode()
    with atomic_write(out) as path:
        path.write_bytes(picture)
    print_lines(f"{out}: {len(histories)} runs, {len(panels)} panels")


def _runs_in(folder: Path) -> list[Path]:
    """Return a run, or the runs in a folder that is none, such as that of a sweep."""
    inner = [] if is_run(folder) or not folder.is_dir() else sorted(path for path in folder.iterdir() if is_run(path))
    return inner or [folder]
