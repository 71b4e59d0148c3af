"""Interrupts while libraries are imported. Entry: `leave_on_interrupt`."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def leave_on_interrupt() -> Iterator[None]:
    """End the program at an interrupt, in one line and with exit code 130."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread set handlers.
        yield
        return
    previous = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _leave(*_: Any) -> None:
    # At once: an exception could be swallowed by a library that is being imported.
    print("error: interrupted", file=sys.stderr, flush=True)
    os._exit(130)
