"""Many hosts: the processes of one run find each other, and none waits for one that is gone.

Entry: `Launch`, `joined`.

JAX's distributed runtime does the work. Left alone it ends a process that cannot reach the others with a stack of C++;
here that is one line and exit code 1, within a minute.
"""

import contextlib
import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import jax

from trm.errors import InputError

JOIN_SECONDS = 45
"""Time in which all processes have to come."""
HEARTBEAT_SECONDS = 40
"""Time without a sign of life after which a process counts as lost."""
SHUTDOWN_SECONDS = 300
"""Time that processes wait for each other at the end, while one of them writes the last files."""

_COLLECTIVE = ("Gloo", "gloo", "NCCL", "coordination service", "CoordinationService", "collective", "heartbeat")
"""Words in what JAX raises where processes work together, and one of them is gone."""


class Launch(NamedTuple):
    """Which of how many processes of a run this one is."""

    coordinator: str | None = None
    """HOST:PORT of process 0, where the others find it. None: the cluster says (Slurm, Kubernetes, Cloud TPU, Open
    MPI), or for one process of no cluster nothing has to."""
    processes: int | None = None
    process: int | None = None
    distributed: bool = False
    """Whether the run may have other processes."""

    @staticmethod
    def of_options(distributed: bool, coordinator: str | None, processes: int | None, process: int | None) -> "Launch":
        """Return what the options of a command say; raise InputError where they do not go together."""
        given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == len(given):
            return Launch(distributed=distributed)
        if missing:
            raise InputError(
                f"found no {', '.join(missing)}, expected all of {', '.join(given)}, or --distributed alone"
            )
        assert coordinator is not None
        assert processes is not None
        assert process is not None
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(f"--coordinator: found {coordinator!r}, expected HOST:PORT of process 0")
        if not 0 <= process < processes:
            raise InputError(f"--process: found {process}, expected 0 to {processes - 1}, one less than --processes")
        return Launch(coordinator, processes, process, True)


@contextlib.contextmanager
def joined(
    launch: Launch, failure_of: Callable[[BaseException], tuple[str, int] | None] = lambda _: None
) -> Iterator[None]:
    """Join the processes of a run for the length of a block. It has to come before any device is used.

    A process that fails ends at once, with what `failure_of` says: a line and an exit code, or None for a traceback. So
    the others see that it is gone, and end, too. Raises InputError when there is no coordinator, and no cluster that
    knows one.
    """
    if not launch.distributed:
        yield
        return
    _join(launch)
    try:
        yield
        # The shutdown waits for the other processes.
        jax.distributed.shutdown()
    except BaseException as error:
        if failure := failure_of(error):
            _leave(*failure)
        if any(word in str(error) for word in _COLLECTIVE):
            _leave(_LOST, 1)
        sys.excepthook(type(error), error, error.__traceback__)
        _leave("this process failed; the others end, too", 1)


def _join(launch: Launch) -> None:
    begin = time.monotonic()
    if launch.coordinator is not None:
        _check_coordinator(launch.coordinator, launch.process == 0)
    waiting = max(5, int(JOIN_SECONDS - (time.monotonic() - begin)))
    # A run saves its checkpoint at a signal by itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _no_abort():
            jax.distributed.initialize(
                launch.coordinator,
                launch.processes,
                launch.process,
                initialization_timeout=waiting,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
    except ValueError as error:
        raise InputError(
            f"--distributed: found no cluster that says which processes there are ({error}), expected Slurm, "
            "Kubernetes, Cloud TPU or Open MPI, or --coordinator HOST:PORT --processes N --process I"
        ) from error
    except RuntimeError:
        # Not raised: JAX would try to take leave of the others first.
        _leave(f"{_name(launch)}: the processes did not come together within {JOIN_SECONDS} s, {_EXPECTED}", 2)
    _check_count(launch)


def _check_count(launch: Launch) -> None:
    """End where process 0 was told of another number of processes: JAX takes its number without a word."""
    from jax._src.distributed import global_state

    client: Any = global_state.client
    if launch.process == 0:
        client.key_value_set("trm/processes", str(launch.processes))
    elif launch.process is not None:
        count = client.blocking_key_value_get("trm/processes", 1000 * HEARTBEAT_SECONDS)
        if count != str(launch.processes):
            _leave(f"{_name(launch)}: found {count} processes at process 0, {_EXPECTED}", 2)


def _name(launch: Launch) -> str:
    return "--distributed" if launch.process is None else f"process {launch.process} of {launch.processes}"


def _check_coordinator(address: str, first: bool) -> None:
    """Raise InputError where process 0 cannot be at its address, or cannot be reached there."""
    host, _, port = address.rpartition(":")
    if first:
        # The service itself would share the port with another one.
        try:
            with socket.create_server(("", int(port))):
                return
        except OSError as error:
            raise InputError(
                f"--coordinator: found port {port} in use or not allowed ({error.strerror}), expected a free one, and "
                "one process 0"
            ) from error
    end = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"--coordinator: found no process 0 at {address} within {JOIN_SECONDS} s ({error}), expected it to "
                    "run there and its port to be open"
                ) from error
        time.sleep(0.5)


@contextlib.contextmanager
def _no_abort() -> Iterator[None]:
    """Have errors of JAX's runtime end in Python: while it begins, an exception; afterwards, a line and exit code 1.

    JAX aborts where it cannot reach the coordinator, unless it is given a function for that. It has no public way to
    take one, and no version can call it: the exception of the call is what reaches Python, or, on a thread of JAX's
    own, what C++ calls unhandled.
    """
    from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

    original = getattr(_jax, "get_distributed_runtime_client", None)
    if original is None:
        yield
        return

    def get_client(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **options, missed_heartbeat_callback=lambda status: None)

    _jax.get_distributed_runtime_client = get_client
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = original
    _handle_unhandled()


_kept: list[Any] = []
"""Functions that C++ may call at any time."""


def _handle_unhandled() -> None:
    """Replace what C++ does with an unhandled exception: a line instead of a dump."""
    try:
        set_terminate = ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE
    except (OSError, AttributeError):
        # Another library than Linux's ends the process with its own message and exit code.
        return
    handler = ctypes.CFUNCTYPE(None)(lambda: _leave(_LOST, 1))
    _kept.append(handler)
    set_terminate(handler)


_LOST = (
    "another process of this run is gone, or cannot be reached; its own output may say why. "
    "--resume goes on from the newest checkpoint"
)
_EXPECTED = (
    "expected the same command on each host, with the same --processes N, and each --process from 0 to N - 1 once"
)
_leaving = threading.Lock()


def _leave(line: str, code: int) -> NoReturn:
    """End at once: a process that ended as usual would wait for the others, and they for it."""
    if _leaving.acquire(blocking=False):
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            print("error: " + " ".join(line.split("\n")), file=sys.stderr, flush=True)
        os._exit(code)
    # Another thread prints its line and ends the program.
    time.sleep(10)
    os._exit(code)
