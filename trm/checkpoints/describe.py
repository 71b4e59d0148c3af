"""Descriptions of our files, read without their arrays and without JAX. Entry: `describe`, `is_ours`."""

from pathlib import Path

from trm.checkpoints.description import KEY, Description, decode
from trm.errors import InputError
from trm.storage.bundled import weights_path
from trm.storage.safetensors import read_header


def is_ours(path: str | Path) -> bool:
    """Return whether a file is a safetensors file with a description of ours."""
    try:
        return KEY in read_header(path).text
    except InputError:  # The file has another format or is damaged; its reader reports which.
        return False


def describe(path: str | Path) -> tuple[Description, dict[str, tuple[str, tuple[int, ...]]]]:
    """Read the description of a file, and the dtype and shape of each of its arrays, without the numbers.

    `path` is as for `load_weights`. Raises InputError, naming the file, when it is missing, damaged or not ours.
    """
    path = weights_path(str(path))
    header = read_header(path)
    try:
        return decode(header.text)[0], header.arrays
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
