"""What training steps are fed: what enters is a puzzle set, what leaves is a batch, or a window, for each step.

How many rows of the queue a step takes, only the device finds out, while the next step must be given its rows before it
ends. So a step gets a window of more than it can need, and takes its rows by their place in the queue: what it takes
depends on nothing but how many were taken before, and that is part of the state.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from trm.configuration.schema import Config
from trm.parallel.mesh import REPLICATED, place_array
from trm.puzzles.loader import HostBatch, Prefetcher, TrainLoader
from trm.puzzles.metadata import PuzzleSet
from trm.supervision.halting import Batch, Window, place_batch

Feed = Callable[[int], Batch | Window]
"""Takes the number of rows that are known to be taken, which may leave out the last step; returns what the next step
is to be called with."""

WINDOW_BATCHES = 3
"""In batches: one, because a window begins with the batch that holds the first row that is not known to be taken; one,
for the step that may be under way; one, for the step that it is for."""


@contextlib.contextmanager
def open_feed(puzzles: PuzzleSet, config: Config, mesh: Mesh, start: int, taken: int) -> Iterator[Feed]:
    """Feed the steps of a run after the first `start`, which took so many rows of the queue."""
    batch_size, seed = config.train.global_batch_size, config.train.seed
    if config.halting.refill == "slot":
        loader = TrainLoader(puzzles, batch_size, seed, jax.process_index(), jax.process_count())
        with Prefetcher(place_batch(loader.load(step), mesh) for step in itertools.count(start)) as batches:
            yield lambda taken: next(batches)
    else:
        # Any device may need any row: every process loads them all.
        loader, first = TrainLoader(puzzles, batch_size, seed), taken // batch_size
        with Prefetcher(loader.load(step) for step in itertools.count(first)) as batches:
            yield _Windows(batches, first, batch_size, mesh).holding


class _Windows:
    """Moves a window over the queue, which is made of batches."""

    def __init__(self, batches: Iterator[HostBatch], first: int, batch_size: int, mesh: Mesh):
        self._batches, self._batch_size, self._mesh = batches, batch_size, mesh
        self._held = [next(batches) for _ in range(WINDOW_BATCHES)]
        self._first = first
        self._window = self._place()

    def holding(self, taken: int) -> Window:
        """Return the window that begins with the batch of the first row that is not known to be taken."""
        moved = False
        while self._first < taken // self._batch_size:
            self._held = [*self._held[1:], next(self._batches)]
            self._first += 1
            moved = True
        if moved:
            self._window = self._place()
        return self._window

    def _place(self) -> Window:
        rows = HostBatch(*(np.concatenate(fields) for fields in zip(*self._held, strict=True)))
        start = np.asarray(self._first * self._batch_size, np.int32)
        # The loop that asks forbids what moves unasked; this is asked for.
        with jax.transfer_guard("allow"):
            return Window(place_batch(rows, self._mesh, REPLICATED), place_array(start, self._mesh, REPLICATED))
