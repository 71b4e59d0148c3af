"""The commands below `trm data`. Those of Sudokus, mazes and ARC are in modules of their own."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trm.cli.data_arc import arc_app
from trm.cli.data_boards import boards_app
from trm.cli.data_options import Out, Seed, warn_of_repeats
from trm.cli.options import Overwrite
from trm.errors import InputError
from trm.puzzles.check import check_puzzle_set
from trm.puzzles.kinds.build import build_split, read_table
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.writing import check_new_puzzle_set, write_puzzle_set
from trm.show.console import print_lines

data_app = typer.Typer(no_args_is_help=True, help="Build puzzle sets, and check them.")
data_app.add_typer(boards_app)
data_app.add_typer(arc_app)


@data_app.command("kind")
def kind_command(
    kind: Annotated[str, typer.Argument(help="Puzzle kind: a registered name, or your own as package.module:Object.")],
    out: Out,
    train_csv: Annotated[Path, typer.Option("--train", help="CSV (or .csv.gz) to train on: question, answer.")],
    test_csv: Annotated[Path, typer.Option("--test", help="CSV (or .csv.gz) to test on.")],
    num_aug: Annotated[int, typer.Option(help="Stored symmetries of each training puzzle.", min=0)] = 0,
    online_aug: Annotated[
        bool, typer.Option("--online-aug", help="Store no symmetries: apply a random one whenever a puzzle is drawn.")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build a puzzle set of any kind from CSV files with the columns question and answer, and perhaps rating.

    Example: `trm data kind queens:KIND data/queens --train train.csv --test test.csv --online-aug`
    """
    check_new_puzzle_set(out, overwrite)
    if online_aug and num_aug:
        raise InputError(f"--online-aug: found together with --num-aug {num_aug}, expected one of them")
    of_kind = KINDS[kind]
    if of_kind.solved_from != "text":
        raise InputError(f"{kind}: found a kind without text, expected one that is read from text")
    train, test = read_table(of_kind, train_csv), read_table(of_kind, test_csv)
    if train.questions.shape[1] != test.questions.shape[1]:
        found, expected = test.questions.shape[1], train.questions.shape[1]
        raise InputError(f"{test_csv}: found puzzles of {found} cells, expected {expected} as in {train_csv}")
    warn_of_repeats(of_kind, train.questions, test.questions)
    rng = np.random.default_rng(seed)
    splits = {
        "train": build_split(str(train_csv), kind, of_kind, train, rng, num_aug, online_aug),
        "test": build_split(str(test_csv), kind, of_kind, test, rng),
    }
    write_puzzle_set(out, splits, overwrite=overwrite)
    print_lines(f"{out}: {len(train.questions)} training puzzles, {len(test.questions)} test puzzles")


@data_app.command("check")
def check_command(directory: Annotated[Path, typer.Argument(help="Puzzle set.")]) -> None:
    """Verify every index, token and rule of a puzzle set; name the first row that is wrong.

    Example: `trm data check data/sudoku`
    """
    for line in check_puzzle_set(directory):
        print_lines(line)
