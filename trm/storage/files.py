"""Atomic writes: files and folders that appear whole or not at all.

Entry: `atomic_write`, `atomic_folder`; `check_writable` and `check_new_folder` find a path that cannot be written
before hours of work; `remove_leftovers` cleans up after a crash.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trm.errors import InputError
from trm.storage.alive import is_alive


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move the file written there into place when the block succeeds.

    A crash at any moment leaves the old file or the new one, never a part. A symbolic link stays; its target is
    replaced. Raises InputError when the file cannot be written.
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
        # An error of the block matters more than one of this removal.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; move it into place when the block succeeds.

    A crash leaves the old folder or the new one. After a crash between the two renames the old folder has a hidden
    name, and the next call restores it. Raises InputError when the folder cannot be written, and when `path` exists and
    is not empty, unless `overwrite` is set and the folder holds a file named `mark`, which shows its kind.
    """
    _recover(_named(path))
    check_new_folder(path, mark, overwrite)
    path = _named(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            for part in [*temporary.rglob("*"), temporary]:
                _sync(part)
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
    """Turn an OSError into an InputError that names the path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}") from error


def check_writable(path: str | Path) -> None:
    """Raise InputError when a file could not be written, before hours of work on its contents."""
    with writing(path):
        path = _named(path)
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot write: found a folder or a device, expected a file")
        _check_folder_of(path)


def check_new_folder(path: str | Path, mark: str, overwrite: bool) -> None:
    """Raise InputError where `atomic_folder` would."""
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
        raise InputError(f"{path}: cannot write: {folder} is not a writable folder")


def _named(path: str | Path) -> Path:
    """Return the path that is written to: for a symbolic link, its target."""
    path = Path(path)
    if path.name in ("", ".."):
        raise InputError(f"{path}: found no name, expected the path of a file or folder to write")
    return path.resolve() if path.is_symlink() else path


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files and folders that a killed process left in a folder that no other process writes to.

    A folder that was being replaced is restored if the new one is not in place.
    """
    for path in list(Path(folder).glob(".*")):
        # Other hidden files are not ours.
        match = re.fullmatch(r"\.(.+)\.(\d+)\.(tmp|old)", path.name)
        if match and match[3] == "old":
            _recover(path.with_name(match[1]))
        elif match:
            _remove(path)


def _recover(path: Path) -> None:
    """Restore or remove old versions of a folder that killed processes left under hidden names."""
    for old in list(path.parent.glob(".*.old")):
        match = re.fullmatch(r"\.(.+)\.(\d+)\.old", old.name)
        if match is None or match[1] != path.name or (int(match[2]) != os.getpid() and is_alive(int(match[2]))):
            continue
        if path.exists():
            _remove(old)
        else:
            os.replace(old, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows does not open folders.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder.
        if not (is_folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)
