"""The commands `trm data sudoku`, `trm data maze` and `trm data generate`."""

import os
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from rich.progress import track

from trm.cli.data_options import (
    Clues,
    Generate,
    GenerateTest,
    HubRepo,
    MinDifficulty,
    MinMoves,
    Out,
    Processes,
    Seed,
    SubsampleSize,
    TestCsv,
    TrainCsv,
    Unique,
    csv_files,
    need_generate,
    refuse_beside,
    warn_of_repeats,
)
from trm.cli.options import Columns, Overwrite
from trm.errors import InputError
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import symmetries as sudoku_symmetries
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.puzzles.kinds.tables import Puzzle, Table, select
from trm.puzzles.text.columns import parse_columns
from trm.puzzles.writing import check_new_puzzle_set, new_puzzle_set, write_identifiers, write_puzzle_set
from trm.show.console import console, print_lines
from trm.storage.files import check_writable

T = TypeVar("T")

boards_app = typer.Typer()


@boards_app.command("sudoku")
def sudoku_command(
    out: Out,
    train_csv: TrainCsv = None,
    test_csv: TestCsv = None,
    hub_repo: HubRepo = None,
    generate: Generate = None,
    generate_test: GenerateTest = None,
    size: Annotated[int | None, typer.Option(help="Side of generated Sudokus: 4, 6 or 9.", show_default="9")] = None,
    clues: Clues = None,
    columns: Columns = None,
    subsample_size: SubsampleSize = None,
    min_difficulty: MinDifficulty = None,
    num_aug: Annotated[int, typer.Option(help="Stored augmentations of each training puzzle.", min=0)] = 0,
    online_aug: Annotated[
        bool, typer.Option("--online-aug", help="Store no symmetries: apply a random one whenever a puzzle is drawn.")
    ] = False,
    processes: Processes = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build a Sudoku puzzle set from files, the hub, or the generator; else from the bundled 9x9 puzzles.

    Files are tables with columns such as question, answer and rating, or puzzles in any form that `trm solve` reads.

    Example: `trm data sudoku data/sudoku --train train.csv --test test.csv --subsample-size 1000 --online-aug`
    """
    check_new_puzzle_set(out, overwrite)
    if online_aug and num_aug:
        raise InputError(f"--online-aug: found together with --num-aug {num_aug}, expected one of them")
    if generate:
        files = {"--train": train_csv, "--test": test_csv, "--hub": hub_repo, "--columns": columns}
        refuse_beside("--generate", files)
        table = Table.of(_generate_sudokus(generate + (generate_test or 500), size, clues, processes, seed))
        train = table.rows(slice(generate))
        test = table.rows(slice(generate, None))
        train_name = test_name = "generated"
    else:
        unused = {"--generate-test": generate_test, "--size": size, "--clues": clues, "--processes": processes}
        need_generate(unused)
        train_name, test_name = csv_files(train_csv, test_csv, hub_repo) or (
            bundled_csv(f"sudoku-9x9-{split}.csv.gz") for split in ("train", "test")
        )
        chosen = parse_columns(columns)
        train, test = (sudoku_text.read_table(name, chosen) for name in (train_name, test_name))
    rng = np.random.default_rng(seed)
    train = select(train, str(train_name), min_difficulty, subsample_size, rng)
    test = select(test, str(test_name), min_difficulty)
    n = _same_side(train.questions, test.questions, train_name, test_name)
    warn_of_repeats(
        KINDS["sudoku"], *(table.questions.reshape(-1, n * n) + TOKEN_OF_DIGIT_0 for table in (train, test))
    )
    with new_puzzle_set(out, overwrite) as folder:
        write_identifiers(folder)
        for split, table, augmentations in (("train", train, num_aug), ("test", test, 0)):
            metadata = sudoku_build.metadata_of(len(table.questions), n, online_aug and split == "train")
            draw = partial(sudoku_symmetries.draw_on_tokens, rng, n=n)
            sudoku_build.write_split(folder / split, table, metadata, augmentations, draw)
    augmented = "augmented when they are drawn" if online_aug else f"with {num_aug} augmentations each"
    print_lines(f"{out}: {len(train.questions)} training puzzles {augmented}, {len(test.questions)} test puzzles")


class Labels(StrEnum):
    """Labels of rotated and reflected mazes."""

    RECOMPUTE = "recompute"
    ROTATE = "rotate"


@boards_app.command("maze")
def maze_command(
    out: Out,
    train_csv: TrainCsv = None,
    test_csv: TestCsv = None,
    hub_repo: HubRepo = None,
    generate: Generate = None,
    generate_test: GenerateTest = None,
    size: Annotated[int | None, typer.Option(help="Side of generated mazes.", show_default="30")] = None,
    min_moves: MinMoves = None,
    unique: Unique = False,
    columns: Columns = None,
    subsample_size: SubsampleSize = None,
    min_difficulty: MinDifficulty = None,
    aug: Annotated[bool, typer.Option("--aug", help="Store all eight rotations and reflections to train on.")] = False,
    labels: Annotated[
        Labels,
        typer.Option(
            help="recompute: each path by one rule, which takes the first of up, down, left, right that lies on a "
            "shortest path; rotate: the file's path, rotated with the maze, as the original does."
        ),
    ] = Labels.RECOMPUTE,
    processes: Processes = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build a maze puzzle set from files, the hub, or the generator.

    Files are tables with columns such as question, answer and rating, or mazes in any form that `trm solve` reads:
    # wall, space free, S start, G goal, o path.

    Example: `trm data maze data/maze --hub sapientinc/maze-30x30-hard-1k --aug`
    """
    check_new_puzzle_set(out, overwrite)
    if generate:
        files = {"--train": train_csv, "--test": test_csv, "--hub": hub_repo, "--columns": columns}
        refuse_beside("--generate", files)
        table = _generate_mazes(generate + (generate_test or 500), size, min_moves, unique, processes, seed)
        train = table.rows(slice(generate))
        test = table.rows(slice(generate, None))
        train_name = test_name = "generated"
    else:
        unused = {"--generate-test": generate_test, "--size": size, "--min-moves": min_moves, "--unique": unique}
        need_generate(unused | {"--processes": processes})
        files = csv_files(train_csv, test_csv, hub_repo)
        if files is None:
            raise InputError("--train, --hub, --generate: found none of them, expected one as the source of mazes")
        train_name, test_name = files
        chosen = parse_columns(columns)
        train, test = (maze_text.read_table(name, chosen) for name in (train_name, test_name))
    rng = np.random.default_rng(seed)
    train = select(train, str(train_name), min_difficulty, subsample_size, rng)
    test = select(test, str(test_name), min_difficulty)
    n = _same_side(train.questions, test.questions, train_name, test_name)
    warn_of_repeats(KINDS["maze"], *(table.questions.reshape(-1, n * n) for table in (train, test)))
    splits = {
        "train": maze_build.build_split(str(train_name), train, aug, labels.value),
        "test": maze_build.build_split(str(test_name), test, False, labels.value),
    }
    write_puzzle_set(out, splits, overwrite=overwrite)
    turned = " in eight orientations" if aug else ""
    print_lines(f"{out}: {len(train.questions)} training mazes{turned}, {len(test.questions)} test mazes")


@boards_app.command("generate")
def generate_command(
    out: Annotated[Path, typer.Argument(help="CSV file to write; gzip when its name ends in .gz.")],
    mazes: Annotated[bool, typer.Option("--maze", help="Generate mazes, not Sudokus.")] = False,
    size: Annotated[
        int | None, typer.Option(help="Side of the board; of Sudokus 4, 6 or 9.", show_default="9, or 30")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of puzzles.", min=1)] = 1000,
    clues: Clues = None,
    min_moves: MinMoves = None,
    unique: Unique = False,
    processes: Processes = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Generate Sudokus with exactly one solution each, or mazes, as a CSV file.

    Example: `trm data generate sudoku-6x6.csv --size 6 --count 2000 --seed 1`
    """
    if out.exists() and not overwrite:
        raise InputError(f"{out}: already exists, expected a new file (--overwrite replaces it)")
    check_writable(out)
    if mazes:
        refuse_beside("--maze", {"--clues": clues})
        table = _generate_mazes(count, size, min_moves, unique, processes, seed)
        side = table.questions.shape[-1]
        written = maze_text.write_csv(out, "generated", (Puzzle(*row) for row in zip(*table, strict=True)))
    else:
        refuse_beside("Sudokus", {"--min-moves": min_moves, "--unique": unique})
        side = 9 if size is None else size
        written = sudoku_text.write_csv(out, "generated", _generate_sudokus(count, side, clues, processes, seed))
    print_lines(f"{out}: {written} puzzles of {side}x{side}")


def _same_side(train: np.ndarray, test: np.ndarray, train_name: Path | str, test_name: Path | str) -> int:
    found, expected = test.shape[-1], train.shape[-1]
    if found != expected:
        raise InputError(
            f"{test_name}: found {found}x{found} boards, expected {expected}x{expected} as in {train_name}"
        )
    return expected


def _generate_sudokus(
    count: int, size: int | None, clues: int | None, processes: int | None, seed: int
) -> Iterable[Puzzle]:
    size = 9 if size is None else size
    if clues is not None and clues >= size * size:
        raise InputError(f"--clues: found {clues}, expected fewer than the {size * size} cells")
    # A process takes seconds to start, which pays for many large boards only.
    processes = processes or ((os.cpu_count() or 1) if size >= 9 and count >= 100 else 1)
    return _with_bar(sudoku_generator.generate_many(size, count, seed, clues or 0, processes), count)


def _generate_mazes(
    count: int, size: int | None, min_moves: int | None, unique: bool, processes: int | None, seed: int
) -> Table:
    processes = processes or os.cpu_count() or 1
    mazes = maze_generator.generate_many(30 if size is None else size, count, seed, min_moves, unique, processes)
    return Table.of(_with_bar(mazes, count))


def _with_bar(puzzles: Iterable[T], count: int) -> Iterable[T]:
    return track(puzzles, "generating", count, console=console, transient=True)
