"""`trm info`: the contents of a checkpoint, a puzzle set or a configuration."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from trm.checkpoints.describe import describe, is_ours
from trm.cli.described import print_described
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import SPLITS, checksums, read_splits, token_histogram
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import read_examples
from trm.puzzles.metadata import IGNORED_LABEL
from trm.show.console import console, print_lines, print_rows
from trm.show.terminal import draw_example, side_by_side
from trm.storage.bundled import weights_names


def info_command(
    path: Annotated[str, typer.Argument(help="Checkpoint, weights, puzzle set, run folder or configuration.")],
) -> None:
    """Print the contents of a checkpoint, a puzzle set or a configuration.

    Example: `trm info runs/quickstart/weights.safetensors`
    """
    bundled = path in weights_names() and not os.path.exists(path)
    if bundled or (os.path.isfile(path) and is_ours(path)):
        print_described(*describe(path))
    elif os.path.isdir(path) and any(os.path.isdir(os.path.join(path, split)) for split in SPLITS):
        _print_puzzle_set(Path(path))
    else:
        # This module imports JAX, which takes most of a second.
        from trm.cli.info_other import print_other

        print_other(path)


def _print_puzzle_set(directory: Path) -> None:
    splits = read_splits(directory)
    names = read_identifiers(directory)
    for puzzles in splits:
        print_lines(f"{puzzles.name}: {puzzles.examples:,} examples")
        print_rows({f"  {name}": value for name, value in dataclasses.asdict(puzzles.metadata).items()})
        counts = token_histogram(puzzles)
        table = Table("  token", *counts, box=None)
        for token, row in enumerate(zip(*counts.values(), strict=True)):
            table.add_row(f"  {token}", *(f"{count:,}" for count in row))
        console.print(table, highlight=False)
        _print_example(puzzles)
    print_lines(f"identifiers: {len(names):,}, first {names[0]!r}, last {names[-1]!r}")
    print_lines("sha256, bytes, file")
    for name, (size, digest) in checksums(directory).items():
        print_lines(f"{digest}  {size:>13,}  {name}")


def _print_example(puzzles: PuzzleSet) -> None:
    arrays = next(iter(puzzles.sets.values()))
    example = read_examples(puzzles, arrays, np.zeros(1, np.int64), np.zeros(1, np.int64))
    question = example.inputs[0]
    answer = np.where(example.labels[0] == IGNORED_LABEL, puzzles.metadata.pad_id, example.labels[0])
    drawings = draw_example(kind_of(puzzles.metadata), question, answer)
    if drawings:
        console.print(side_by_side(drawings, console.width), highlight=False)
