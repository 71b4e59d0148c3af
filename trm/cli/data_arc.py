"""The command `trm data arc`."""

import os
from collections import Counter
from typing import Annotated, Literal

import typer
from rich.progress import Progress

from trm.cli.data_options import Out, Processes
from trm.cli.options import Overwrite
from trm.errors import InputError
from trm.puzzles.kinds.arc import build as arc_build
from trm.puzzles.kinds.arc.draws import OriginalDraws, SeededDraws
from trm.puzzles.kinds.arc.sources import FIRST, list_subsets, read_subset
from trm.puzzles.kinds.arc.tasks import Task
from trm.puzzles.writing import check_new_puzzle_set
from trm.show.console import console, print_lines, print_warning

arc_app = typer.Typer()

_MOST_NAMED = 20
"""Largest number of bad tasks that are listed."""


@arc_app.command("arc")
def arc_command(
    out: Out,
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of an official repository, of Kaggle's files, or of another collection of tasks; a JSON file "
            "with one or more tasks; or the prefix of Kaggle's files (PREFIX_SUBSET_challenges.json)."
        ),
    ],
    subsets: Annotated[
        str | None,
        typer.Option(
            help="Subsets, separated by commas.",
            show_default=f"{FIRST}; of a file, or of a collection without subsets: all",
        ),
    ] = None,
    test_set: Annotated[
        str | None,
        typer.Option(help="Subset whose test pairs become the test split.", show_default="evaluation, or the only one"),
    ] = None,
    test_set2: Annotated[str | None, typer.Option(help="A second test subset.", show_default="none")] = None,
    num_aug: Annotated[int, typer.Option(help="Augmentations of each task.", min=0)] = 1000,
    compact: Annotated[
        bool, typer.Option("--compact", help="Store each task once, and augment it whenever it is drawn.")
    ] = False,
    allow_missing_solutions: Annotated[
        bool, typer.Option("--allow-missing-solutions", help="Accept unknown answers; each counts as [[0]].")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out tasks that are malformed.")] = False,
    puzzle_identifiers_start: Annotated[
        int, typer.Option(help="First identifier; more than 1 to keep several sets apart.", min=1)
    ] = 1,
    processes: Processes = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", min=0)] = 42,
    order: Annotated[
        Literal["own", "original"],
        typer.Option(
            help="original: the random choices of the original's builder, and so identifiers in its order; in one "
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
            f"--processes: found {processes} with --order original, expected 1: its draws depend on their order"
        )
    if subsets is None:
        found = list_subsets(source)
        subsets = ",".join(found) if len(found) == 1 else FIRST
    names = [name.strip() for name in subsets.split(",")]
    for name in names:
        # In a source that is a folder, other names would lead to folders that are not subsets.
        if not name or name in (".", "..") or "/" in name:
            raise InputError(f"--subsets: found {name!r}, expected the name of a subset")
    test_set = test_set or (names[0] if len(names) == 1 else "evaluation")
    tests = {"--test-set": test_set} | ({"--test-set2": test_set2} if test_set2 else {})
    for option, name in tests.items():
        if name not in names:
            raise InputError(f"{option}: found {name!r}, expected one of the subsets {', '.join(names)}")
    if len(set(names)) < len(names):
        raise InputError(f"--subsets: found {subsets!r}, expected each once")
    chosen = [
        arc_build.Subset(name, _read(source, name, allow_missing_solutions, skip_bad), name in tests.values())
        for name in names
    ]
    for test, others in arc_build.find_leaks(chosen).items():
        for other, count in others.items():
            print_lines(f"warning: {other} holds {count} tasks of the test set {test}: its accuracy is meaningless")
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


def _read(source: str, subset: str, allow_missing_solutions: bool, skip_bad: bool) -> list[Task]:
    """Read a subset; print warnings about what is left out."""
    bad: list[InputError] = []
    extras: Counter[str] = Counter()
    owners: Counter[str] = Counter()

    def count(key: str, pairs: int) -> None:
        extras[key] += pairs
        owners[key] += 1

    tasks = read_subset(source, subset, allow_missing_solutions, bad.append if skip_bad else None, count)
    for error in bad[:_MOST_NAMED]:
        print_warning(f"left out: {error}")
    if bad:
        print_warning(f"{subset}: left out {len(bad)} bad tasks, {len(tasks)} are left")
    if not tasks:
        raise InputError(f"{source}: {subset}: found no task, expected at least one")
    for key, pairs in extras.items():
        print_warning(
            f"{subset}: left out {pairs:,} pairs of {owners[key]:,} tasks under {key!r}: neither train nor test"
        )
    return tasks
