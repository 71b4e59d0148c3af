"""The commands below `trm data`: read options, call the builders, print what came of it."""

import os
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from rich.progress import Progress, track

from trm.errors import InputError
from trm.puzzles.check import check_puzzle_set
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.arc import build as arc_build
from trm.puzzles.kinds.arc import choose as arc_choose
from trm.puzzles.kinds.arc import tasks as arc_tasks
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import symmetries as sudoku_symmetries
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import Puzzle, Table, select
from trm.puzzles.writing import check_new_puzzle_set, new_puzzle_set, write_identifiers, write_puzzle_set
from trm.show.console import console, print_lines
from trm.storage import hub
from trm.storage.files import check_writable

T = TypeVar("T")

data_app = typer.Typer(no_args_is_help=True, help="Make puzzle sets, and check them.")

Out = Annotated[Path, typer.Argument(help="Directory of the new puzzle set.")]
TrainCsv = Annotated[Path | None, typer.Option("--train", help="CSV (or .csv.gz) to train on.")]
TestCsv = Annotated[Path | None, typer.Option("--test", help="CSV (or .csv.gz) to test on.")]
HubRepo = Annotated[
    str | None, typer.Option("--hub", help="Take train.csv and test.csv from a Hugging Face data set (extra `hub`).")
]
Generate = Annotated[int | None, typer.Option(help="Generate so many training puzzles instead.", min=1)]
GenerateTest = Annotated[
    int | None, typer.Option(help="Generate so many test puzzles besides.", show_default="500", min=1)
]
SubsampleSize = Annotated[int | None, typer.Option(help="Train on so many puzzles, drawn at random.", min=1)]
MinDifficulty = Annotated[int | None, typer.Option(help="Keep puzzles rated at least so, in both splits.")]
Clues = Annotated[
    int | None,
    typer.Option(help="Of a generated Sudoku: stop taking clues away at so many.", show_default="0", min=0),
]
MinMoves = Annotated[
    int | None,
    typer.Option(help="Of a generated maze: path longer than so many moves.", show_default="110 at 30x30, as area"),
]
Unique = Annotated[bool, typer.Option("--unique", help="Of a generated maze: make the shortest path the only one.")]
Processes = Annotated[int | None, typer.Option(help="Processes.", show_default="one per core", min=1)]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.", min=0)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@data_app.command("sudoku")
def sudoku_command(
    out: Out,
    train_csv: TrainCsv = None,
    test_csv: TestCsv = None,
    hub_repo: HubRepo = None,
    generate: Generate = None,
    generate_test: GenerateTest = None,
    size: Annotated[
        int | None, typer.Option(help="Of generated Sudokus: side of the board, 4, 6 or 9.", show_default="9")
    ] = None,
    clues: Clues = None,
    subsample_size: SubsampleSize = None,
    min_difficulty: MinDifficulty = None,
    num_aug: Annotated[int, typer.Option(help="Stored augmentations of each training puzzle.", min=0)] = 0,
    online_aug: Annotated[
        bool, typer.Option("--online-aug", help="Store no augmentations: rearrange a puzzle whenever it is drawn.")
    ] = False,
    processes: Processes = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build a Sudoku puzzle set from CSV files, the hub, or the generator; else from the 9x9 puzzles that come along.

    CSV files have the columns source, question, answer, rating.

    Example: `trm data sudoku data/sudoku --train train.csv --test test.csv --subsample-size 1000 --online-aug`
    """
    check_new_puzzle_set(out, overwrite)
    if online_aug and num_aug:
        raise InputError(f"--online-aug: found --num-aug {num_aug} beside it, expected one or the other")
    if generate:
        _refuse("--generate", {"--train": train_csv, "--test": test_csv, "--hub": hub_repo})
        columns = zip(*_generate_sudokus(generate + (generate_test or 500), size, clues, processes, seed), strict=True)
        table = Table(*(np.array(column) for column in columns))
        train = Table(*(column[:generate] for column in table))
        test = Table(*(column[generate:] for column in table))
        train_name = test_name = "generated"
    else:
        unused = {"--generate-test": generate_test, "--size": size, "--clues": clues, "--processes": processes}
        _need_generate(unused)
        train_name, test_name = _csv_files(train_csv, test_csv, hub_repo) or (
            bundled_csv(f"sudoku-9x9-{split}.csv.gz") for split in ("train", "test")
        )
        train, test = sudoku_text.read_csv(train_name), sudoku_text.read_csv(test_name)
    rng = np.random.default_rng(seed)
    train = select(train, str(train_name), min_difficulty, subsample_size, rng)
    test = select(test, str(test_name), min_difficulty)
    n = _same_side(train.questions, test.questions, train_name, test_name)
    with new_puzzle_set(out, overwrite) as folder:
        write_identifiers(folder)
        for split, table, augmentations in (("train", train, num_aug), ("test", test, 0)):
            metadata = sudoku_build.metadata_of(len(table.questions), n, online_aug and split == "train")
            draw = partial(sudoku_symmetries.draw_on_tokens, rng, n=n)
            sudoku_build.write_split(folder / split, table, metadata, augmentations, draw)
    augmented = "rearranged when they are drawn" if online_aug else f"with {num_aug} augmentations each"
    print_lines(f"{out}: {len(train.questions)} training puzzles {augmented}, {len(test.questions)} test puzzles")


class Labels(StrEnum):
    """What becomes of a maze's path when the maze is turned."""

    RECOMPUTE = "recompute"
    ROTATE = "rotate"


@data_app.command("maze")
def maze_command(
    out: Out,
    train_csv: TrainCsv = None,
    test_csv: TestCsv = None,
    hub_repo: HubRepo = None,
    generate: Generate = None,
    generate_test: GenerateTest = None,
    size: Annotated[int | None, typer.Option(help="Of generated mazes: side.", show_default="30")] = None,
    min_moves: MinMoves = None,
    unique: Unique = False,
    subsample_size: SubsampleSize = None,
    min_difficulty: MinDifficulty = None,
    aug: Annotated[bool, typer.Option("--aug", help="Store all eight rotations and reflections to train on.")] = False,
    labels: Annotated[
        Labels,
        typer.Option(
            help="recompute: every path by one rule, from the start the first of up, down, left, right that lies on a "
            "shortest path; rotate: the file's path, turned with the maze, as the original does."
        ),
    ] = Labels.RECOMPUTE,
    processes: Processes = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build a maze puzzle set from CSV files, the hub, or the generator.

    CSV files have the columns source, question, answer, rating: # wall, space free, S start, G goal, o path.

    Example: `trm data maze data/maze --hub sapientinc/maze-30x30-hard-1k --aug`
    """
    check_new_puzzle_set(out, overwrite)
    if generate:
        _refuse("--generate", {"--train": train_csv, "--test": test_csv, "--hub": hub_repo})
        table = _generate_mazes(generate + (generate_test or 500), size, min_moves, unique, processes, seed)
        train = Table(*(column[:generate] for column in table))
        test = Table(*(column[generate:] for column in table))
        train_name = test_name = "generated"
    else:
        unused = {"--generate-test": generate_test, "--size": size, "--min-moves": min_moves, "--unique": unique}
        _need_generate(unused | {"--processes": processes})
        files = _csv_files(train_csv, test_csv, hub_repo)
        if files is None:
            raise InputError("--train, --hub, --generate: found none of them, expected one: where mazes come from")
        train_name, test_name = files
        train, test = maze_text.read_csv(train_name), maze_text.read_csv(test_name)
    rng = np.random.default_rng(seed)
    train = select(train, str(train_name), min_difficulty, subsample_size, rng)
    test = select(test, str(test_name), min_difficulty)
    _same_side(train.questions, test.questions, train_name, test_name)
    splits = {
        "train": maze_build.build_split(str(train_name), train, aug, labels.value),
        "test": maze_build.build_split(str(test_name), test, False, labels.value),
    }
    write_puzzle_set(out, splits, overwrite=overwrite)
    turned = " in eight orientations" if aug else ""
    print_lines(f"{out}: {len(train.questions)} training mazes{turned}, {len(test.questions)} test mazes")


@data_app.command("arc")
def arc_command(
    out: Out,
    source: Annotated[
        str,
        typer.Argument(
            help="Prefix of the Kaggle files (PREFIX_SUBSET_challenges.json, ..._solutions.json, plain or .gz), or a "
            "directory with one folder per subset and one JSON per task in it, as in the official repositories."
        ),
    ],
    subsets: Annotated[str, typer.Option(help="Subsets, separated by commas.")] = "training,evaluation,concept",
    test_set: Annotated[str, typer.Option(help="Subset whose test pairs are to be solved.")] = "evaluation",
    test_set2: Annotated[str | None, typer.Option(help="A second one.", show_default="none")] = None,
    num_aug: Annotated[int, typer.Option(help="Augmentations of each task.", min=0)] = 1000,
    compact: Annotated[
        bool, typer.Option("--compact", help="Store each task once, and augment it whenever it is drawn.")
    ] = False,
    allow_missing_solutions: Annotated[
        bool, typer.Option("--allow-missing-solutions", help="Put up with unknown answers; each counts as [[0]].")
    ] = False,
    puzzle_identifiers_start: Annotated[
        int, typer.Option(help="First identifier; more than 1 to keep several sets apart.", min=1)
    ] = 1,
    processes: Processes = None,
    seed: Seed = 42,
    overwrite: Overwrite = False,
) -> None:
    """Build an ARC-AGI-1, ARC-AGI-2 or ConceptARC puzzle set.

    Example: `trm data arc data/arc1 kaggle/combined/arc-agi --compact`
    """
    check_new_puzzle_set(out, overwrite)
    names = [name.strip() for name in subsets.split(",")]
    for name in names:
        # Of a source that is a folder, other names would be other folders than its subsets.
        if not name or name in (".", "..") or "/" in name:
            raise InputError(f"--subsets: found {name!r}, expected the name of a subset")
    tests = {"--test-set": test_set} | ({"--test-set2": test_set2} if test_set2 else {})
    for option, name in tests.items():
        if name not in names:
            raise InputError(f"{option}: found {name!r}, expected one of the subsets {', '.join(names)}")
    if len(set(names)) < len(names):
        raise InputError(f"--subsets: found {subsets!r}, expected each once")
    chosen = [
        arc_build.Subset(name, arc_tasks.read_subset(source, name, allow_missing_solutions), name in tests.values())
        for name in names
    ]
    for test, others in arc_build.find_leaks(chosen).items():
        for other, count in others.items():
            print_lines(f"warning: {other} holds {count} tasks of the test set {test}: its score will mean nothing")
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("tasks", total=None)
        metadata = arc_build.build(
            out,
            chosen,
            num_aug,
            arc_choose.SeededDraws(seed),
            compact,
            puzzle_identifiers_start,
            processes or os.cpu_count() or 1,
            overwrite,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for split, values in metadata.items():
        examples = round(values.total_puzzles * values.mean_puzzle_examples)
        print_lines(
            f"{out}/{split}: {values.total_groups:,} tasks, {values.total_puzzles:,} puzzles, {examples:,} examples"
        )


@data_app.command("generate")
def generate_command(
    out: Annotated[Path, typer.Argument(help="CSV file to write; gzip when its name ends in .gz.")],
    mazes: Annotated[bool, typer.Option("--maze", help="Mazes, not Sudokus.")] = False,
    size: Annotated[
        int | None, typer.Option(help="Side of the board: 4, 6 or 9; of a maze.", show_default="9, or 30")
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
        _refuse("--maze", {"--clues": clues})
        table = _generate_mazes(count, size, min_moves, unique, processes, seed)
        side = table.questions.shape[-1]
        written = maze_text.write_csv(out, "generated", (Puzzle(*row) for row in zip(*table, strict=True)))
    else:
        _refuse("Sudokus", {"--min-moves": min_moves, "--unique": unique})
        side = 9 if size is None else size
        written = sudoku_text.write_csv(out, "generated", _generate_sudokus(count, side, clues, processes, seed))
    print_lines(f"{out}: {written} puzzles of {side}x{side}")


@data_app.command("check")
def check_command(directory: Annotated[Path, typer.Argument(help="Puzzle set.")]) -> None:
    """Verify every index, token and rule of a puzzle set; name the first row that is wrong.

    Example: `trm data check data/sudoku`
    """
    for line in check_puzzle_set(directory):
        print_lines(line)


def _csv_files(train: Path | None, test: Path | None, hub_repo: str | None) -> tuple[Path, Path] | None:
    """Return the files that the options name, downloaded where they ask for it; None when they name none."""
    if hub_repo:
        _refuse("--hub", {"--train": train, "--test": test})
        return hub.download(hub_repo, "train.csv"), hub.download(hub_repo, "test.csv")
    if (train is None) != (test is None):
        raise InputError("--train and --test: found one of them, expected both or neither")
    return (train, test) if train and test else None


def _refuse(option: str, others: dict[str, Any]) -> None:
    if given := _given(others):
        raise InputError(f"{option}: found {' and '.join(given)} beside it, expected one or the other")


def _need_generate(options: dict[str, Any]) -> None:
    if given := _given(options):
        raise InputError(f"{given[0]}: found no --generate beside it, expected it, for nothing else is generated")


def _given(options: dict[str, Any]) -> list[str]:
    return [name for name, value in options.items() if value is not None and value is not False]


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
    # A process takes seconds to start: only large boards in number are worth it.
    processes = processes or ((os.cpu_count() or 1) if size >= 9 and count >= 100 else 1)
    return _with_bar(sudoku_generator.generate_many(size, count, seed, clues or 0, processes), count)


def _generate_mazes(
    count: int, size: int | None, min_moves: int | None, unique: bool, processes: int | None, seed: int
) -> Table:
    processes = processes or os.cpu_count() or 1
    mazes = maze_generator.generate_many(30 if size is None else size, count, seed, min_moves, unique, processes)
    columns = zip(*_with_bar(mazes, count), strict=True)
    return Table(*(np.array(column) for column in columns))


def _with_bar(puzzles: Iterable[T], count: int) -> Iterable[T]:
    return track(puzzles, "generating", count, console=console, transient=True)
