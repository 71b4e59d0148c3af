"""Names of puzzle identifiers. Entry: `read_identifiers`, `read_shared_identifiers`."""

from collections.abc import Sequence
from pathlib import Path

from trm.errors import InputError
from trm.puzzles.json_files import read_json
from trm.puzzles.metadata import BLANK


def read_identifiers(directory: str | Path) -> list[str]:
    """Read the names of the puzzle identifiers; raise InputError when the file is missing or is not a list of names."""
    path = Path(directory) / "identifiers.json"
    names = read_json(path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: found {names!s:.40}, expected a list of names")
    return names


def read_shared_identifiers(directories: Sequence[str | Path]) -> list[str]:
    """Read the names of the puzzle identifiers that several sets share: what one leaves blank another may name.

    Raises InputError when two sets call the same identifier by different names.
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
