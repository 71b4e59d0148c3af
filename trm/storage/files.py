"""Files and folders that appear whole or not at all."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trm.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move what was written there into place when the block succeeds.

    A crash at any moment leaves the old file or the new one, never a part; of a link it is the file that it leads to.
    Raises InputError when it cannot be written.
    """
    check_writable(path)
    path = _named(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        # What matters is the error above, if there was one.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_folder(path: str | Path, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; move it into place when the block succeeds.

    Raises InputError when `path` exists and holds anything, unless `overwrite` and it holds a file named `mark`, which
    tells that it is a folder of the same kind; and when it cannot be written.
    """
    check_new_folder(path, mark, overwrite)
    path = _named(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            replaces = path.exists()
            if replaces:
                os.replace(path, old)
            try:
                os.replace(temporary, path)
            except BaseException:
                if replaces:
                    os.replace(old, path)
                raise
            _sync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the system says against writing into an InputError that names the path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}") from error


def check_writable(path: str | Path) -> None:
    """Raise InputError where a file could not be written, before hours go into what it is to hold."""
    path = _named(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot write: found something that is no file, expected a new one or one to replace")
    _check_folder_of(path)


def check_new_folder(path: str | Path, mark: str, overwrite: bool) -> None:
    """Raise InputError where `replacing_folder` would."""
    path = _named(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: found a file, expected a new or empty folder")
    if path.exists() and any(path.iterdir()):
        if not overwrite:
            raise InputError(f"{path}: already exists, expected a new or empty folder (--overwrite replaces it)")
        if not (path / mark).exists():
            raise InputError(f"{path}: found a folder without {mark}, expected a new one or one of the same kind")
    _check_folder_of(path)


def _check_folder_of(path: Path) -> None:
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise InputError(f"{path}: cannot write: {folder} is no folder that may be written to")


def read_standard_input() -> str:
    """Read standard input to its end; raise InputError when it is closed or no text."""
    if sys.stdin is None:
        raise InputError("standard input: found it closed, expected text")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: found no UTF-8 text: {error}") from error


def _named(path: str | Path) -> Path:
    """Return the path that is written to in the end: that of a link is another."""
    path = Path(path)
    if path.name in ("", ".."):
        raise InputError(f"{path}: found no name, expected the path of a file or folder to write")
    return path.resolve() if path.is_symlink() else path


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files and folders that a killed process left in a folder that no other process writes to."""
    for path in list(Path(folder).glob(".*.tmp")):
        # What is called otherwise is not ours.
        if not re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
