"""Locks: one process at a time works in a folder.

The lock is the file `.lock` in the folder, locked with `flock`; its text names the owner: host, process, time. The
system releases the lock when the owner ends, so a crash leaves no lock on the same host. Some network file systems
limit `flock` to one host or do not have it; there the text of the file decides.

Entry: `FolderLock`; it raises `Locked`.
"""

import datetime
import errno
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from trm.errors import InputError
from trm.storage.alive import is_alive
from trm.storage.files import writing

try:
    import fcntl
except ImportError:
    # Windows: the text in the file decides.
    fcntl = None

NAME = ".lock"


class Locked(InputError):
    """The folder is locked by another process."""


class FolderLock:
    """The lock of a folder, held inside a `with` block. The folder is created if it does not exist.

    Raises Locked, naming the owner, when another process holds the lock, and InputError when the folder cannot be
    written to.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / NAME
        self._descriptor: int | None = None
        self._made_folder = False

    def __enter__(self) -> "FolderLock":
        with writing(self._path):
            self._made_folder = not self._path.parent.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while not self._acquire():
                continue
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # The folder may be gone or read-only; then the file stays, and the system releases the lock all the same.
        with suppress(OSError):
            in_place = self._is_in_place(descriptor)
            if os.name == "nt":
                # Windows cannot remove an open file.
                os.close(descriptor)
            # Elsewhere the file is removed while the lock is held, or another process could lock a file about to
            # vanish.
            if in_place:
                self._path.unlink(missing_ok=True)
            if in_place and self._made_folder and not any(self._path.parent.iterdir()):
                self._path.parent.rmdir()
        if os.name != "nt":
            os.close(descriptor)

    def renew(self) -> bool:
        """Lock the folder again if it was removed; return whether it was. Raises as entering the block does."""
        with writing(self._path):
            if self._descriptor is not None and self._is_in_place(self._descriptor):
                return False
        self.__exit__()
        self.__enter__()
        return True

    def _acquire(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = self._lock(descriptor)
            if not self._is_in_place(descriptor):
                # The owner removed the file just as it was opened.
                os.close(descriptor)
                return False
            self._check_owner(_read(descriptor), locked)
            owner = {"host": socket.gethostname(), "pid": os.getpid(), "time": _now()}
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(owner).encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _lock(self, descriptor: int) -> bool:
        """Lock the file; return false where the file system has no locks."""
        if fcntl is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Locked(f"{self._path}: {_describe(_read(descriptor))}, expected no other run there") from error
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                return False
            raise
        return True

    def _check_owner(self, owner: dict[str, Any], locked: bool) -> None:
        """Raise Locked when the owner may be alive, although this process could lock the file."""
        if not owner:
            return
        if owner.get("host") == socket.gethostname():
            # The system releases the lock of a process that ended. Without `flock` the process number decides.
            if locked or not is_alive(int(owner["pid"])):
                return
            raise Locked(f"{self._path}: {_describe(owner)}, expected no other run there")
        raise Locked(
            f"{self._path}: {_describe(owner)}, which this host cannot check; "
            "if that process has ended, remove the file"
        )

    def _is_in_place(self, descriptor: int) -> bool:
        """Return whether the file at the path is the one that is open."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


def _read(descriptor: int) -> dict[str, Any]:
    """Read the owner; nothing if the file is empty, or was cut by a crash."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(descriptor, 4096))
        return {"host": str(owner["host"]), "pid": int(owner["pid"]), "time": str(owner["time"])}
    except (ValueError, KeyError, TypeError):
        # Our own process writes it in one piece; anything else was cut by a crash.
        return {}


def _describe(owner: dict[str, Any]) -> str:
    if not owner:
        return "found it locked by another process"
    return f"found it locked by process {owner['pid']} on {owner['host']} since {owner['time']}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
