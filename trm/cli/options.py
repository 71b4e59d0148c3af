"""Options that several commands share, and checks of their values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from trm.errors import InputError
from trm.show.console import print_warning
from trm.solving.options import ATTEMPTS, ATTEMPTS_WITH_GUESSES, FIRST_GUESSING, GUESSES, NoiseAt, NoiseOn
from trm.solving.selection import SelectionMethod
from trm.storage.bundled import ENDING, weights_names
from trm.storage.files import check_writable
from trm.storage.hub import SCHEME

# Files

_WHICH = f" {ENDING}; {SCHEME}OWNER/REPOSITORY/FILE; or bundled weights: {', '.join(weights_names())}."
_OTHERS = " Checkpoints of PyTorch programs are converted."
CheckpointFile = Annotated[str, typer.Argument(help="Checkpoint or weights:" + _WHICH + _OTHERS)]
CheckpointFiles = Annotated[list[str], typer.Argument(help="Checkpoints or weights:" + _WHICH + _OTHERS)]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
Raw = Annotated[bool, typer.Option("--raw", help="Take the raw weights, not their moving average.")]

Output = Literal["text", "plain", "json", "csv"]
"""Format of answers."""

# Configuration

Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of a table, by name or number: question=NAME, perhaps ,answer=NAME and ,rating=NAME.",
        show_default="by their names and contents",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
]
Devices = Annotated[int | None, typer.Option(help="Number of devices.", show_default="all", min=1)]

# Processes

Distributed = Annotated[
    bool,
    typer.Option(
        "--distributed", help="Be one of the processes that Slurm, Kubernetes, Cloud TPU or Open MPI started."
    ),
]
Coordinator = Annotated[
    str | None,
    typer.Option("--coordinator", metavar="HOST:PORT", help="Be one of several processes: address of process 0."),
]
Processes = Annotated[
    int | None, typer.Option("--processes", metavar="N", help="Number of processes on all hosts.", min=1)
]
Process = Annotated[int | None, typer.Option("--process", metavar="I", help="Number of this process, from 0.", min=0)]

# Training

Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Trackers of metrics besides metrics.jsonl: tensorboard, wandb (extras of these names), your own as "
        "package.module:Class. Several with commas.",
    ),
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Lines at intervals, no live view (also with NO_COLOR or TERM=dumb).")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings until the end.")]

# Puzzles

EvaluatedSet = Annotated[
    Path | None, typer.Option("--data", help="Puzzle set.", show_default="the one that the checkpoint was trained on")
]
EvaluatedSplit = Annotated[str, typer.Option("--split", help="Split of the puzzle set.")]
IdentifiersOf = Annotated[
    Path | None,
    typer.Option(
        "--trained-on",
        help="Puzzle set that the model was trained on, to match the identifiers of --data by name.",
        show_default="the one in its configuration, if unchanged",
    ),
]
TrainedOn = Annotated[
    Path | None,
    typer.Option(
        "--trained-on",
        help="With ARC: the puzzle set that the model was trained on, which names its tasks.",
        show_default="the one in its configuration",
    ),
]

# Solver

Steps = Annotated[
    int | None, typer.Option(help="Largest number of supervision steps.", show_default="as trained", min=1)
]
ViewCount = Annotated[
    int | None,
    typer.Option(
        "--views",
        help="Views of each puzzle, under different symmetries.",
        show_default="1; in `trm solve` with ARC all augmentations",
        min=1,
    ),
]
Attempts = Annotated[
    int | None,
    typer.Option(
        help="Most attempts at a puzzle, until its answer obeys the rules.",
        show_default=f"{ATTEMPTS_WITH_GUESSES}; {ATTEMPTS} without guesses; none with --views, --rollouts or --select",
        min=1,
    ),
]
Seconds = Annotated[float | None, typer.Option(help="Time limit of all attempts after the first, in seconds.", min=0)]
GuessCount = Annotated[
    int | None,
    typer.Option(
        "--guesses",
        help="Cells of a Sudoku that an attempt from the ninth on takes from an earlier answer as given.",
        show_default=f"{GUESSES}; in `trm evaluate` with --attempts",
        min=0,
    ),
]
Rollouts = Annotated[int, typer.Option(help="Candidates for each view, with different noise.", min=1)]
Noise = Annotated[float, typer.Option(help="Standard deviation of the noise on the latents.", min=0)]
NoisyLatents = Annotated[NoiseOn, typer.Option("--noise-on", help="Latents that get the noise.")]
NoiseTime = Annotated[
    NoiseAt, typer.Option("--noise-at", help="Noise before every supervision step, at the start, or both.")
]
Select = Annotated[
    SelectionMethod | None,
    typer.Option(
        "--select",
        help="Method of selecting one candidate's answer; first: the first candidate that halts stops the others.",
        show_default="rules; with --views or --rollouts confident",
    ),
]
SolverSeed = Annotated[
    int | None, typer.Option("--seed", help="Seed of noise, views and guesses.", show_default="0", min=0)
]


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raise InputError for a file that exists, unless it may be overwritten."""
    if out.exists() and not overwrite:
        raise InputError(f"{out}: already exists, expected a new file (--overwrite replaces it)")


def check_out(out: Path, overwrite: bool, endings: Sequence[str]) -> None:
    """Raise InputError, before hours of work, for a file of another kind, that exists or that cannot be written."""
    if out.suffix.lower() not in endings:
        raise InputError(f"--out: found {out.name!r}, expected a name that ends in {', '.join(endings)}")
    refuse_existing(out, overwrite)
    check_writable(out)


def warn_of_no_effect(
    select: SelectionMethod | None,
    seed: int | None,
    candidates: int,
    noise: float,
    guesses: int | None = None,
    attempts: int | None = None,
) -> None:
    """Print a warning for `--select`, `--seed` and `--guesses` where they change nothing."""
    if select and select != "rules" and candidates == 1:
        print_warning(f"--select {select}: has no effect on a single candidate, expected it with --views or --rollouts")
    if seed is not None and candidates == 1 and not noise:
        print_warning(f"--seed {seed}: has no effect, expected it with --views or --noise")
    if guesses and attempts and attempts <= FIRST_GUESSING:
        print_warning(
            f"--guesses {guesses}: has no effect on the first {FIRST_GUESSING} attempts, expected more than --attempts "
            f"{attempts}"
        )
