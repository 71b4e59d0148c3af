"""Weights from any file: ours, or a checkpoint of a PyTorch program, which is converted.

Entry: `open_weights`, `is_foreign`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from trm.checkpoints.description import KEY, Description
from trm.checkpoints.format import load_weights
from trm.errors import InputError
from trm.model.weights import Weights
from trm.original.beside import checkpoint_in, names_beside, settings_beside
from trm.original.convert import import_weights
from trm.original.files import format_of
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.metadata import Metadata
from trm.storage.bundled import weights_path
from trm.storage.safetensors import read_header

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Opened(NamedTuple):
    """Weights with the description of their file."""

    weights: Weights
    description: Description
    """Description of the weights that were read, averaged or raw."""
    notes: tuple[str, ...] = ()
    """Lines on what was guessed, rounded or left out in the conversion of another program's file."""


def open_weights(
    name: str | Path, averaged: bool = True, metadata: Metadata | None = None, known: Mapping[str, Any] = _NOTHING
) -> Opened:
    """Read weights from a file, or from the folder of a checkpoint, of this or another program.

    `name` is as for `trm.storage.bundled.weights_path`. `metadata` and `known` (keys of the model) replace what a file
    of another program does not give. Raises InputError as `load_weights` and `import_weights`.
    """
    path = checkpoint_in(weights_path(str(name)))
    if not is_foreign(path):
        weights, description = load_weights(path, averaged)
        return Opened(weights, description.of_weights(averaged))
    imported = import_weights(path, settings_beside(str(name), path), metadata, known=known, averaged=averaged)
    return Opened(imported.weights, with_names(imported.description, names_beside(path)), imported.notes)


def is_foreign(path: str | Path) -> bool:
    """Return whether a file is one of another program: no safetensors file, or one without our description.

    Raises InputError, naming the file, for one that cannot be read.
    """
    if format_of(path) != "safetensors":
        return True
    try:
        return KEY not in read_header(path).text
    except InputError:  # The reader of our own files reports the damage.
        return False


def with_names(description: Description, directory: str | Path | None) -> Description:
    """Return the description with the fingerprint of a directory's identifier names, if their number fits."""
    rows = description.metadata.num_puzzle_identifiers
    if directory is None or rows < 2 or len(read_identifiers(directory)) != rows:
        return description
    names = fingerprint_names([directory])
    return dataclasses.replace(description, identity={"identifiers": names} if names else {})
