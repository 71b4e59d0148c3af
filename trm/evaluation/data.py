"""Puzzle sets that a trained model is evaluated on. Entry: `open_data`, `check_fits`."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import match_names, read_shared_identifiers
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.metadata import BLANK, Metadata
from trm.puzzles.reading import read_puzzle_sets
from trm.solving.trained_model import TrainedModel

Directories = str | Path | Sequence[str | Path]


class EvaluationData(NamedTuple):
    """One split of the puzzle sets that a model is evaluated on."""

    puzzles: PuzzleSet
    """Puzzles whose identifiers are those of the model's puzzle embeddings."""
    directories: tuple[str, ...]
    """Directories of the puzzle sets."""
    names: tuple[str, ...] | None
    """Names of the model's identifiers, if they were matched by name; None: the directories have the same names."""
    warnings: tuple[str, ...]
    """Lines on what could not be checked."""


def open_data(
    model: TrainedModel,
    data: Directories | None = None,
    split: str = "test",
    trained_on: Directories | None = None,
) -> EvaluationData:
    """Open one split of puzzle sets; default: those of the model's configuration.

    Where the identifiers have other names than in training, they are matched by name: `trained_on` is the puzzle set
    that the model was trained on, by default the one in its configuration, if it has not changed. Raises InputError for
    files that are missing or malformed, for puzzles that the model cannot read, and for names that cannot be matched.
    """
    config = model.config.data
    if data is None:
        paths = config.test_paths if split == "test" else config.train_paths
        if not os.path.exists(paths[0]):
            where = f"on {paths[0]}, which does not exist" if paths[0] else "on a puzzle set without a path"
            raise InputError(f"{model.name}: was trained {where}, expected --data DIR")
        directories = tuple(paths)
    else:
        directories = _as_tuple(data)
    puzzles = read_puzzle_sets(directories, split)
    _check_size(puzzles, model.metadata)
    warnings, names = (), None
    if model.metadata.num_puzzle_identifiers > 1:
        # With a single identifier all puzzles have the same embedding.
        known = model.description.identity.get("identifiers")
        if trained_on is None and known is None:
            where, own = ", ".join(directories), tuple(config.train_paths) + tuple(config.test_paths)
            if not set(directories) <= set(own):
                # The weights name another set than this, or none.
                rows = model.metadata.num_puzzle_identifiers
                raise InputError(
                    f"{model.name}: identifiers: found no names of its {rows:,} puzzle embeddings, expected "
                    f"--trained-on DIR, its puzzle set, to match those of {where} by name"
                )
            warnings = (
                f"{model.name}: has no fingerprint of its identifiers (an earlier format, or an imported file): their "
                f"names are not compared with those of {where}",
            )
        elif trained_on is not None or fingerprint_names(directories) != known:
            names = _names_of(model, directories, known, trained_on)
            puzzles = _match(puzzles, read_shared_identifiers(directories), names, model)
    check_fits(puzzles, model.metadata)
    return EvaluationData(puzzles, directories, names, warnings)


def check_fits(puzzles: PuzzleSet, trained_on: Metadata) -> None:
    """Raise InputError when a model trained on one puzzle set cannot read another."""
    _check_size(puzzles, trained_on)
    found, expected = puzzles.metadata.num_puzzle_identifiers, trained_on.num_puzzle_identifiers
    if found > expected:
        raise InputError(
            f"{puzzles.name}: num_puzzle_identifiers: found {found}, expected at most {expected}, as trained on"
        )


def _check_size(puzzles: PuzzleSet, trained_on: Metadata) -> None:
    for name in ("vocab_size", "seq_len"):
        found, expected = getattr(puzzles.metadata, name), getattr(trained_on, name)
        if found != expected:
            raise InputError(f"{puzzles.name}: {name}: found {found}, expected {expected}, as trained on")


def _names_of(
    model: TrainedModel, directories: tuple[str, ...], known: str | None, trained_on: Directories | None
) -> tuple[str, ...]:
    """Return the names of the model's identifiers, from the puzzle set that it was trained on."""
    if trained_on is None:
        own = model.config.data.train_paths
        if not own[0] or fingerprint_names(own) != known:
            raise InputError(
                f"{', '.join(directories)}: identifiers: found other names than {model.name} was trained with, "
                "expected the same, or --trained-on DIR, the puzzle set of the model, to match them by name"
            )
        return tuple(read_shared_identifiers(own))
    paths = _as_tuple(trained_on)
    names, expected = read_shared_identifiers(paths), model.metadata.num_puzzle_identifiers
    if len(names) != expected or (known is not None and fingerprint_names(paths) != known):
        other = "other names" if len(names) == expected else f"{len(names)} names"
        raise InputError(
            f"--trained-on: {', '.join(paths)}: identifiers: found {other}, expected those of the {expected} puzzle "
            f"embeddings of {model.name}"
        )
    return tuple(names)


def _match(puzzles: PuzzleSet, names: Sequence[str], own: Sequence[str], model: TrainedModel) -> PuzzleSet:
    """Give every puzzle the model's identifier of the same name."""
    expected = puzzles.metadata.num_puzzle_identifiers
    if len(names) < expected:
        raise InputError(f"{puzzles.name}: identifiers.json: found {len(names)} names, expected {expected}")
    if len(names) <= len(own) and all(name in (BLANK, known) for name, known in zip(names, own, strict=False)):
        # One of several sets that the model was trained on: a name may have a number in each of them.
        numbers = np.arange(len(names))
    else:
        numbers = match_names(names, own, model.name)
    sets = {}
    for name, arrays in puzzles.sets.items():
        matched = numbers[arrays.puzzle_identifiers]
        if (missing := matched < 0).any():
            first = names[int(arrays.puzzle_identifiers[missing.argmax()])]
            raise InputError(
                f"{puzzles.name}: found puzzle {first!r}, and {missing.sum() - 1} more, expected puzzles that "
                f"{model.name} was trained on"
            )
        sets[name] = dataclasses.replace(arrays, puzzle_identifiers=matched.astype("int32"))
    metadata = dataclasses.replace(puzzles.metadata, num_puzzle_identifiers=len(own))
    return dataclasses.replace(puzzles, metadata=metadata, sets=sets)


def _as_tuple(directories: Directories) -> tuple[str, ...]:
    return (str(directories),) if isinstance(directories, str | Path) else tuple(map(str, directories))
