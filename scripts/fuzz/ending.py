"""How the reading of an input ends, and the limits of time and memory. Entry: `ending_of`, `limit`, `keep_fault`."""

import faulthandler
import math
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import trm
from trm.errors import InputError

SECONDS = 5
"""Of the processor: other work on the machine makes no reader a slow one."""
WALL_SECONDS = 60
_LAST_SECONDS = WALL_SECONDS + 30
"""After which the process ends, where a library's code does not return to Python."""
_unraised: list[str] = []
"""Exceptions that Python prints and does not raise: where an object is freed."""
_watched: list[float] = []
"""When the watch over the process was last set; empty: this process has no limits."""
BYTES = 1 << 30
_PACKAGE = Path(trm.__file__).parent


class Hang(BaseException):
    """A reader that takes too long. No reader may swallow it."""


class Ending(NamedTuple):
    """How the reading of one input ends."""

    kind: str
    """read, InputError, or the name of the fault."""
    told: str = ""
    """The error's message; a fault's traceback."""
    stage: str = ""
    """The function of this program that refuses the input."""

    @property
    def is_fault(self) -> bool:
        return self.kind not in ("read", "InputError")


def ending_of(read: Callable[[Path], object], data: bytes, folder: Path, seconds: int = SECONDS) -> Ending:
    """Read an input from a file in the folder; return how that ends.

    After `limit`, in at most `seconds` of the processor. If the process ends, the file stays in the folder.
    """
    path = folder / "input"
    path.write_bytes(data)
    if _watched:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(WALL_SECONDS)
        _watch()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            read(path)
        ending = Ending("read") if not warned else Ending("Warning", str(warned[0]))
        if _unraised:
            ending = Ending("Unraised", _unraised.pop())
    except InputError as error:
        told = str(error)
        # An error is one line.
        ending = Ending("lines" if "\n" in told.strip() else "InputError", told, _stage(error))
    except (Exception, Hang) as error:  # All that a user must not see.
        ending = Ending(type(error).__name__, traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for left in folder.glob("input*"):
            left.unlink()
    return ending


def limit() -> None:
    """Limit the time of each input, and the memory of this process from now on; note what Python only prints."""
    sys.unraisablehook = lambda found: _unraised.append(f"{found.exc_value} in {found.object!r:.200}")
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, _hang)
    _watched[:] = [-math.inf]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))


def keep_fault(folder: Path, name: str, data: bytes, ending: Ending) -> Path:
    """Write the input of a fault, and its traceback beside it; return the path of the input."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(ending.told, encoding="utf-8", errors="backslashreplace")
    (folder / name).write_bytes(data)
    return folder / name


def _watch() -> None:
    """End the process, with a traceback, unless this is called again in time. To set it again takes milliseconds."""
    if time.monotonic() > _watched[0] + 10:
        faulthandler.dump_traceback_later(_LAST_SECONDS, exit=True)
        _watched[0] = time.monotonic()


def _hang(*_: object) -> None:
    raise Hang


def _stage(error: InputError) -> str:
    """Return the innermost function of the package in the traceback of an error, or of the one that it repeats."""
    while isinstance(error.__cause__, InputError):
        error = error.__cause__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    if not frames:
        return "elsewhere"
    return f"{Path(frames[-1].filename).relative_to(_PACKAGE)} {frames[-1].name}"
