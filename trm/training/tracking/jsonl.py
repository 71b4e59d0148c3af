"""The metrics file of a run: one JSON object a line.

Entry: `JsonLines`.
"""

import contextlib
import errno
import json
import os
from collections import deque
from pathlib import Path
from typing import Any

from trm.storage.files import atomic_write, writing

MAX_WAITING = 10_000
"""Largest number of lines that wait for space on the disk, a few MB; beyond it the oldest are dropped."""


class JsonLines:
    """Appends lines to a file. While it cannot be written, as on a full disk, lines wait; none is written in part."""

    def __init__(self, path: Path, start: int, evaluation_due: bool = False):
        """Open the file and drop the lines after step `start`, which are to be written again.

        `evaluation_due`: the evaluation after that step is to be made again, too. Raises InputError for a file that
        cannot be written.
        """
        self.path = path
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        kept = []
        with writing(path):
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            for line in text.splitlines():
                # A killed run can leave half a line at the end.
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                    if _is_before(json.loads(line), start, evaluation_due):
                        kept.append(line)
            with atomic_write(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self._file = path.open("ab", buffering=0)

    def log(self, metrics: dict[str, Any], /) -> None:
        """Write a line, after those that wait. Raises InputError when it must wait, too."""
        self._waiting.append(json.dumps(metrics).encode() + b"\n")
        with writing(self.path):
            self._write_waiting()

    def _write_waiting(self) -> None:
        while self._waiting:
            line = self._waiting[0]
            status = os.fstat(self._file.fileno())
            if not status.st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it was removed")
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(self._file.fileno(), status.st_size)
                raise
            self._waiting.popleft()

    @property
    def is_lost(self) -> bool:
        """Whether the file was removed, or another one has its name."""
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError:
            return True

    def reopen(self) -> None:
        """Open the file again, or create it, after it was removed or replaced."""
        self._file.close()
        with writing(self.path):
            self._file = self.path.open("ab", buffering=0)
            self._write_waiting()

    def close(self) -> None:
        """Close the file; raise InputError when lines still wait for space."""
        try:
            with writing(self.path):
                self._write_waiting()
        finally:
            self._file.close()


def _is_before(line: dict[str, Any], start: int, evaluation_due: bool) -> bool:
    step = line["step"]
    is_evaluation = not any(name.startswith("train/") for name in line)
    # The test set is seen once, after the last step; a run that is resumed sees it again.
    is_last = any(name.startswith("test/") for name in line)
    return step < start or (step == start and not is_last and not (evaluation_due and is_evaluation))
