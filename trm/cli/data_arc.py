"""The command `trm data arc`."""

import os
from typing import Annotated, Literal

import typer
from rich.progress import Progress

from trm.cli.data_options import Out, Processes
from trm.cli.options import Overwrite
from trm.errors import InputError
from trm.puzzles.kinds.arc import build as arc_build
from trm.puzzles.kinds.arc import tasks as arc_tasks
from trm.puzzles.kinds.arc.draws import OriginalDraws, SeededDraws
from trm.puzzles.writing import check_new_puzzle_set
from trm.show.console import console, print_lines

arc_app = typer.Typer()


@arc_app.command("arc")
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
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", min=0)] = 42,
    order: Annotated[
        Literal["own", "original"],
        typer.Option(
            help="original: the random choices of the original's builder, and so its identifiers in its order; in one "
            "process."
        ),
    ] = "own",
    overwrite: Overwrite = False,
) -> None:
    """Build an ARC-AGI-1, ARC-AGI-2 or ConceptARC puzzle set.

    Example: `trm data arc data/arc1 kaggle/combined/arc-agi --compact`
    """
    check_new_puzzle_set(out, overwrite)
    if order == "original" and (processes or 1) > 1:
        raise InputError(
            f"--processes: found {processes} with --order original, expected 1: its choices are one series"
        )
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
            OriginalDraws(seed) if order == "original" else SeededDraws(seed),
            compact,
            puzzle_identifiers_start,
            1 if order == "original" else processes or os.cpu_count() or 1,
            overwrite,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for split, values in metadata.items():
        examples = round(values.total_puzzles * values.mean_puzzle_examples)
        print_lines(
            f"{out}/{split}: {values.total_groups:,} tasks, {values.total_puzzles:,} puzzles, {examples:,} examples"
        )
