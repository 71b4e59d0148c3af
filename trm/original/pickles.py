"""Checks of pickles, read without executing them. Entry: `refuse_long_names`.

PyTorch searches the message of an error for patterns, in a time that grows with the square of the length of the names
in it: a damaged file with a name of 100,000 letters would take minutes.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from trm.errors import InputError

_LONGEST_NAME = 1000
_PICKLES = 4
"""Pickles before the storages in a file that is not an archive: a number, a version, sizes, the object."""


def refuse_long_names(path: Path) -> None:
    """Raise InputError for a file of `torch.save` whose pickle has a class name of over a thousand letters."""
    for stream in _pickles(path):
        for name in _class_names(stream):
            if len(name) > _LONGEST_NAME:
                raise InputError(
                    f"{path}: not a state dict of torch.save: found a class whose name has {len(name):,} letters"
                )


def _class_names(stream: io.BufferedReader | io.BytesIO) -> Iterator[str]:
    """Yield the names that a pickle imports, up to the first damaged byte."""
    strings = ["", ""]
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                yield str(argument)
            elif opcode.name == "STACK_GLOBAL":
                yield " ".join(strings)
            elif isinstance(argument, str):
                strings = [strings[1], argument]
    except Exception:  # Damaged bytes raise anything; PyTorch reports the damage.
        return


def _pickles(path: Path) -> Iterator[io.BufferedReader | io.BytesIO]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            for _ in range(_PICKLES):
                yield file
            return
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    yield io.BytesIO(archive.read(name))
