"""Puzzle sets that a trained model is evaluated on. Entry: `open_data`, `check_fits`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.metadata import Metadata
from trm.puzzles.reading import read_puzzle_sets
from trm.solving.trained_model import TrainedModel


class EvaluationData(NamedTuple):
    """One split of the puzzle sets that a model is evaluated on."""

    puzzles: PuzzleSet
    directories: tuple[str, ...]
    """Where the puzzle sets lie."""


def open_data(
    model: TrainedModel, data: str | Path | Sequence[str | Path] | None = None, split: str = "test"
) -> EvaluationData:
    """Open one split of puzzle sets, by default of those that the model was trained with.

    Raises InputError for what is missing or malformed, and for puzzles that the model cannot read.
    """
    config = model.config.data
    if data is None:
        paths = config.test_paths if split == "test" else config.train_paths
        if not paths or not os.path.exists(paths[0]):
            where = f"on {paths[0]}, which is not here" if paths else "on a puzzle set that it does not name"
            raise InputError(f"{model.name}: was trained {where}, expected --data DIR")
    else:
        paths = [data] if isinstance(data, str | Path) else data
    puzzles = read_puzzle_sets(paths, split)
    check_fits(puzzles, model.metadata)
    return EvaluationData(puzzles, tuple(map(str, paths)))


def check_fits(puzzles: PuzzleSet, trained_on: Metadata) -> None:
    """Raise InputError when a model trained on one puzzle set cannot read another."""
    for name in ("vocab_size", "seq_len"):
        found, expected = getattr(puzzles.metadata, name), getattr(trained_on, name)
        if found != expected:
            raise InputError(f"{puzzles.name}: {name}: found {found}, expected {expected}, as trained on")
    found, expected = puzzles.metadata.num_puzzle_identifiers, trained_on.num_puzzle_identifiers
    if found > expected:
        raise InputError(
            f"{puzzles.name}: num_puzzle_identifiers: found {found}, expected at most {expected}, as trained on"
        )
