"""The writer: one job at a time on a thread. Entry: `Writer`."""

import threading
from collections.abc import Callable

from trm.errors import InputError

SAVE_THREAD = "trm-save"


class Writer:
    """Runs a job on a thread. A job with an InputError has failed and may be tried again; other errors are raised."""

    def __init__(self):
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Start a job, after the end of the one before."""
        self.wait()

        def work() -> None:
            try:
                job()
            except BaseException as error:
                # Raised or returned by `take_failure`, on the thread that asks.
                self._error = error

        # A daemon: an interrupt during the wait ends the program, and files are whole or not there.
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
        """Return the InputError of the last job, once; raise any other error of it."""
        if self.is_busy:
            return None
        error, self._error = self._error, None
        if error is None or isinstance(error, InputError):
            return error
        raise error
