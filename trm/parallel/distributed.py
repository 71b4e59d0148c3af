"""Many hosts: connect the processes of one run, and end all of them when one is lost.

Entry: `Launch`, `joined`.

JAX's distributed runtime does the work. By itself it ends a process that cannot reach the others with a C++ stack
trace; here the process ends within a minute, with one line and exit code 1.
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
"""Seconds until all processes must have joined."""
HEARTBEAT_SECONDS = 40
"""Seconds without a heartbeat after which a process counts as lost."""
SHUTDOWN_SECONDS = 300
"""Seconds that processes wait for each other at the end, while one of them writes the last files."""

_COLLECTIVE = ("Gloo", "gloo", "NCCL", "coordination service", "CoordinationService", "collective", "heartbeat")
"""Words in JAX's errors when another process of the run is lost."""


class Launch(NamedTuple):
    """The number of this process, and of all processes of the run."""

    coordinator: str | None = None
    """HOST:PORT of process 0, to which the others connect. None: the cluster provides it (Slurm, Kubernetes, Cloud TPU,
    Open MPI), or there is one process alone."""
    processes: int | None = None
    process: int | None = None
    distributed: bool = False
    """Whether the run may have other processes."""

    @staticmethod
    def of_options(distributed: bool, coordinator: str | None, processes: int | None, process: int | None) -> "Launch":
        """Return the launch that options of a command describe; raise InputError if they are incomplete or invalid."""
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
    """Join the processes of a run for the length of a block. Call it before any device is used.

    A process that fails ends at once, with the line and exit code that `failure_of` returns, or with a traceback for
    None. The other processes detect the loss and end, too. Raises InputError when there is neither a coordinator nor a
    cluster that provides one.
    """
    if not launch.distributed:
        yield
        return
    _join(launch)
    _separate_native_output()
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


def _separate_native_output() -> None:
    """Send what C++ libraries print to standard error, so that standard output holds this program's lines alone.

    Gloo reports each connection on standard output, from several threads at once and in pieces of lines.
    """
    try:
        inherited = os.dup(1)
        sys.stdout.flush()
        os.dup2(2, 1)
    except OSError:
        # Started with one of the two closed.
        return
    sys.stdout = open(inherited, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _join(launch: Launch) -> None:
    begin = time.monotonic()
    if launch.coordinator is not None:
        _check_coordinator(launch.coordinator, launch.process == 0)
    waiting = max(5, int(JOIN_SECONDS - (time.monotonic() - begin)))
    # At a signal, the run itself saves a checkpoint.
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
            f"--distributed: found no cluster that lists the processes ({error}), expected Slurm, "
            "Kubernetes, Cloud TPU or Open MPI, or --coordinator HOST:PORT --processes N --process I"
        ) from error
    except RuntimeError:
        # Not raised: JAX would wait for the others to disconnect first.
        _leave(f"{_name(launch)}: the processes did not join within {JOIN_SECONDS} s, {_EXPECTED}", 2)
    _check_count(launch)


def _check_count(launch: Launch) -> None:
    """End if process 0 was given another number of processes: JAX accepts its number without an error."""
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
    """Raise InputError if process 0 cannot listen at its address, or cannot be reached there."""
    host, _, port = address.rpartition(":")
    if first:
        # JAX's service would share the port with another process.
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
    """Turn aborts of JAX's runtime into an exception while it starts, and into a line and exit code 1 afterwards.

    JAX aborts if it cannot reach the coordinator, unless it has a callback for that. It has no public option for one,
    and no version of JAX can call a Python function there. The failed call raises an exception, which reaches Python
    or, on one of JAX's own threads, is unhandled in C++.
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
    """Replace C++'s handler of unhandled exceptions: print a line instead of aborting."""
    try:
        set_terminate = ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE
    except (OSError, AttributeError):
        # Without libstdc++ the process ends with the message and exit code of its C++ library.
        return
    handler = ctypes.CFUNCTYPE(None)(lambda: _leave(_LOST, 1))
    _kept.append(handler)
    set_terminate(handler)


_LOST = (
    "another process of this run has ended or cannot be reached; its own output may give the reason; "
    "a training run goes on with --resume"
)
_EXPECTED = (
    "expected the same command on each host, with the same --processes N, and each --process from 0 to N - 1 once"
)
_leaving = threading.Lock()


def _leave(line: str, code: int) -> NoReturn:
    """End at once: in a normal exit, this process would wait for the others, and they for it."""
    if _leaving.acquire(blocking=False):
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            print("error: " + " ".join(line.split("\n")), file=sys.stderr, flush=True)
        os._exit(code)
    # Another thread prints its line and ends the program.
    time.sleep(10)
    os._exit(code)
