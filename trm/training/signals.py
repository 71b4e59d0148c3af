"""Signals that stop a run: SIGINT, SIGTERM, SIGHUP end it at the next safe point, between steps or evaluation batches.

Entry: `catch_signals`. A second SIGINT interrupts at once.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

COMPILE_THREAD = "trm-compile"
AGREE_EVERY = 8
"""Steps between two agreements of several processes: each costs a collective, and the device waits for it."""


class Stopped(Exception):
    """A signal asked the run to stop."""


class StopRequest:
    """Whether a signal has asked the run to stop."""

    def __init__(self):
        self.number = 0
        """The signal; 0: none."""

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name

    def check(self, step: int | None = None) -> None:
        """Raise Stopped when a signal came.

        With several processes a signal to any of them stops all, so that none waits for another for ever: all must call
        `check` at the same point. They agree at every call without `step`, else every `AGREE_EVERY` steps.
        """
        if jax.process_count() > 1:
            if step is not None and step % AGREE_EVERY:
                return
            with jax.transfer_guard("allow"):
                self.number = int(multihost_utils.process_allgather(np.int32(self.number)).max())
        if self.number:
            raise Stopped

    def compile(self, jitted: Any, *arguments: Any) -> Callable[..., Any]:
        """Compile a jitted function for arguments like these; raise Stopped when a signal comes first.

        With several processes, which cannot stop separately, the function is compiled when it is called.
        """
        if jax.process_count() > 1:
            return jitted
        return self.wait_for(jitted.lower(*arguments).compile)

    def wait_for(self, compile: Callable[[], T]) -> T:
        """Wait for the compiler; raise Stopped when a signal comes first.

        The compiler does not handle signals, for up to minutes, so it runs on a thread of its own, which is abandoned
        when the run stops.
        """
        if threading.current_thread() is not threading.main_thread():
            return compile()
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(compile())
            except BaseException as error:
                # Raised again below, on the thread that waits.
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True, name=COMPILE_THREAD)
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.1)
            if self.number:
                raise Stopped
        for error in errors:
            raise error
        return results[0]


def is_compiling() -> bool:
    """Return whether an abandoned compilation still runs: until it ends, Python cannot exit cleanly."""
    return any(thread.name == COMPILE_THREAD for thread in threading.enumerate())


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Note the first of the signals instead of ending; a second SIGINT interrupts as usual.

    SIGHUP, of a terminal that is closed, stays ignored where it is (`nohup`).
    """
    request = StopRequest()

    def note(number: int, _frame: Any) -> None:
        request.number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = {number: signal.signal(number, note) for number in _signals()}
    except ValueError:
        # Python lets only the main thread set handlers; in another thread signals are the program's own matter.
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    # Windows has no SIGHUP.
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [number for number in numbers if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN]
