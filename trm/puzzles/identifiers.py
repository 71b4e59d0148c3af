"""Names of puzzle identifiers. Entry: `read_identifiers`, `read_shared_identifiers`, `match_names`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.json_files import read_json
from trm.puzzles.metadata import BLANK

NAMES_FILE = "identifiers.json"
"""File of a puzzle set that holds the names, in the order of the identifiers."""


def read_identifiers(directory: str | Path) -> list[str]:
    """Read the names of the puzzle identifiers; raise InputError when the file is missing or is not a list of names."""
    path = Path(directory) / NAMES_FILE
    names = read_json(path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: found {names!s:.40}, expected a list of names")
    return names


def read_shared_identifiers(directories: Sequence[str | Path]) -> list[str]:
    """Read the names of the puzzle identifiers that several sets share; a blank name takes that of another set.

    Raises InputError when two sets have different names for one identifier.
    """
    shared: list[str] = []
    named_in: list[str | Path] = []
    for directory in directories:
        names = read_identifiers(directory)
        more = len(names) - len(shared)
        shared += [BLANK] * more
        named_in += [directory] * more
        for identifier, name in enumerate(names):
            if shared[identifier] == BLANK:
                shared[identifier], named_in[identifier] = name, directory
            elif name not in (BLANK, shared[identifier]):
                raise InputError(
                    f"{directory}/identifiers.json: identifier {identifier}: found {name!r}, expected "
                    f"{shared[identifier]!r} as in {named_in[identifier]} (--puzzle-identifiers-start keeps them apart)"
                )
    return shared


def match_names(names: Sequence[str], others: Sequence[str], where: str) -> Integer[np.ndarray, " names"]:
    """Return for each name its number among others, -1 where it is missing; blank names are number 0.

    Raises InputError, beginning with `where`, when the others have a name twice.
    """
    numbers = {BLANK: 0}
    for number, other in enumerate(others):
        if other != BLANK and numbers.setdefault(other, number) != number:
            raise InputError(f"{where}: found the name {other!r} as identifiers {numbers[other]} and {number}")
    return np.array([numbers.get(name, -1) for name in names], dtype=np.int64)
