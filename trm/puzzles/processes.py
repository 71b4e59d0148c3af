"""Processes that make puzzles in parallel. Entry: `process_pool`."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from trm.errors import InputError


@contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes; raise InputError when one of them is killed."""
    # Spawn: a forked child of a process with JAX's threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise InputError("a process was killed, expected enough memory: fewer --processes take less") from error
        finally:
            # After an error, waiting jobs are not started.
            pool.shutdown(cancel_futures=True)
