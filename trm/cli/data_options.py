"""Options that commands below `trm data` share. Entry: the types, `csv_files`, `refuse_beside`, `warn_of_repeats`."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from trm.errors import InputError
from trm.puzzles.kinds.build import count_repeats
from trm.puzzles.kinds.kind import PuzzleKind
from trm.show.console import print_lines
from trm.storage import hub

Out = Annotated[Path, typer.Argument(help="Directory of the new puzzle set.")]
TrainCsv = Annotated[Path | None, typer.Option("--train", help="File to train on: a table, or puzzles in any form.")]
TestCsv = Annotated[Path | None, typer.Option("--test", help="File to test on.")]
HubRepo = Annotated[
    str | None, typer.Option("--hub", help="Take train.csv and test.csv from a Hugging Face data set (extra `hub`).")
]
Generate = Annotated[int | None, typer.Option(help="Number of training puzzles to generate instead.", min=1)]
GenerateTest = Annotated[
    int | None, typer.Option(help="Number of test puzzles to generate.", show_default="500", min=1)
]
SubsampleSize = Annotated[int | None, typer.Option(help="Number of training puzzles to draw at random.", min=1)]
MinDifficulty = Annotated[int | None, typer.Option(help="Lowest rating of the puzzles to keep, in both splits.")]
Clues = Annotated[
    int | None,
    typer.Option(help="Smallest number of clues of a generated Sudoku.", show_default="0", min=0),
]
MinMoves = Annotated[
    int | None,
    typer.Option(help="Number that the moves in a generated maze exceed.", show_default="110 at 30x30, as area"),
]
Unique = Annotated[bool, typer.Option("--unique", help="Make the shortest path of a generated maze the only one.")]
Processes = Annotated[
    int | None, typer.Option(help="Number of processes on this machine.", show_default="one per core", min=1)
]
Seed = Annotated[int, typer.Option(help="Seed of all random choices.", min=0)]


def csv_files(train: Path | None, test: Path | None, hub_repo: str | None) -> tuple[Path, Path] | None:
    """Return the files that the options name, downloaded with --hub; None when they name none."""
    if hub_repo:
        refuse_beside("--hub", {"--train": train, "--test": test})
        return hub.download(hub_repo, "train.csv"), hub.download(hub_repo, "test.csv")
    if (train is None) != (test is None):
        raise InputError("--train and --test: found one of them, expected both or neither")
    return (train, test) if train and test else None


def refuse_beside(option: str, others: dict[str, Any]) -> None:
    """Raise InputError when options are given that another option excludes."""
    if given := _given(others):
        raise InputError(f"{option}: found together with {' and '.join(given)}, expected one or the other")


def need_generate(options: dict[str, Any]) -> None:
    """Raise InputError for an option that only concerns generated puzzles."""
    if given := _given(options):
        raise InputError(f"{given[0]}: found without --generate, expected it only with generated puzzles")


def warn_of_repeats(kind: PuzzleKind, train: np.ndarray, test: np.ndarray) -> None:
    """Print a warning where test questions, as tokens, are training questions, or are so up to a symmetry."""
    repeats = count_repeats(kind, train, test)
    if repeats.equal or repeats.symmetric:
        print_lines(
            f"warning: {repeats.equal} of {len(test)} test puzzles are training puzzles, {repeats.symmetric} others "
            f"are training puzzles up to a symmetry: accuracy on them does not show accuracy on new puzzles"
        )


def _given(options: dict[str, Any]) -> list[str]:
    return [name for name, value in options.items() if value is not None and value is not False]
