"""The writer: one job at a time on a thread. Entry: `Writer`."""

import threading
from collections.abc import Callable

from trm.errors import InputError

SAVE_THREAD = "trm-save"


class Writer:
    """Runs a job on a thread. A job that cannot write has failed, and may be tried again; any other error is raised."""

    def __init__(self):
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job, after the one before."""
        self.wait()

        def work() -> None:
            try:
                job()
            except BaseException as error:
                # Raised or returned by `take_failure`, on the thread that asks.
                self._error = error

        # A daemon, so that an interrupt while it is waited for ends the program: files appear whole or not at all.
        self._thread = threading.Thread(target=work, daemon=True, name=SAVE_THREAD)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Wait for the end of the job."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take_failure(self) -> InputError | None:
        """Return, once, why the last job could not write; raise any other error of it."""
        if self.is_busy:
            return None
        error, self._error = self._error, None
        if error is None or isinstance(error, InputError):
            return error
        raise error
