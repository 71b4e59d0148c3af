"""The feed of training steps: a batch, or a window of the queue, for each step, prefetched on a thread.

Entry: `open_feed`.

Only the device knows how many rows of the queue a step uses, and the next step gets its rows before that step ends. A
step therefore gets a window with more rows than it can need, and takes its rows by their place in the queue. These
depend only on the number of rows used before, which is part of the state.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import REPLICATED, SPLIT, place_array
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import HostBatch, TrainLoader
from trm.puzzles.prefetch import Prefetcher
from trm.supervision.batch import Batch, Window, place_batch

Feed = Callable[[int], Batch | Window]
"""Takes the number of rows known to be used, in which the last step may be missing; returns the data of the next
step."""

WINDOW_BATCHES = 3
"""Length of a window in batches: one for the batch that holds the first row not known to be used, one for the step that
may still run, one for the step that gets the window."""


@contextlib.contextmanager
def open_feed(puzzles: PuzzleSet, config: Config, mesh: Mesh, start: int, rows_used: int) -> Iterator[Feed]:
    """Yield the feed of the steps after `start`. Earlier steps used `rows_used` rows of the queue."""
    batch_size, seed = config.train.global_batch_size, config.train.seed
    # Each process reads and augments its own rows alone.
    loader = TrainLoader(puzzles, batch_size, seed, jax.process_index(), jax.process_count())
    if config.halting.refill == "slot":
        with Prefetcher(place_batch(batch, mesh) for batch in _load(loader, start)) as batches:
            yield lambda _: next(batches)
    else:
        first = rows_used // batch_size
        # Any device may need any row: those of other processes are gathered on the devices.
        spec = REPLICATED if jax.process_count() == 1 else SPLIT
        with Prefetcher(place_batch(batch, mesh, spec) for batch in _load(loader, first)) as batches:
            yield _Windows(batches, first, batch_size, mesh).holding


def _load(loader: TrainLoader, first: int) -> Iterator[HostBatch]:
    for number in itertools.count(first):
        try:
            batch = loader.load(number)
        except InputError:
            raise
        except Exception as error:
            # Any error, such as a removed file or a failing disk, ends the run in one line.
            raise InputError(f"training batch {number + 1}: cannot load: {type(error).__name__}: {error}") from error
        yield batch


class _Windows:
    """Moves a window over the queue, which is made of batches."""

    def __init__(self, batches: Iterator[Batch], first: int, batch_size: int, mesh: Mesh):
        self._batches, self._batch_size, self._mesh = batches, batch_size, mesh
        self._gather = jax.jit(lambda batch: batch, out_shardings=NamedSharding(mesh, REPLICATED))
        self._join = jax.jit(_concatenate, out_shardings=NamedSharding(mesh, REPLICATED))
        self._held = [self._next() for _ in range(WINDOW_BATCHES)]
        self._first = first
        self._window = self._make()

    def holding(self, rows_used: int) -> Window:
        """Return the window that begins with the batch of the first row not known to be used.

        With several processes all must call it with the same number.
        """
        moved = False
        while self._first < rows_used // self._batch_size:
            self._held = [*self._held[1:], self._next()]
            self._first += 1
            moved = True
        if moved:
            self._window = self._make()
        return self._window

    def _next(self) -> Batch:
        batch = next(self._batches)
        return batch if jax.process_count() == 1 else self._gather(batch)

    def _make(self) -> Window:
        start = np.asarray(self._first * self._batch_size, np.int32)
        # The training loop forbids implicit transfers; this one is intended.
        with jax.transfer_guard("allow"):
            return Window(self._join(self._held), place_array(start, self._mesh, REPLICATED))


def _concatenate(batches: list[Batch]) -> Batch:
    return jax.tree.map(lambda *fields: jnp.concatenate(fields), *batches)
