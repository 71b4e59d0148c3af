"""The checkpoint manager, which saves the state of a run during the run. Entry: `CheckpointManager`.

A save copies the state to the host, since the next step updates the device's arrays in place; a thread computes the
checksums, writes the file and moves it into place. The loop waits only for the copy. At most one save runs at a time,
so the host holds at most one copy and, while the disk is full, the best weights that could not be written.

A save that fails (a full disk, a removed or read-only folder) gives a warning and is tried again; the last good
checkpoint stays.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.configuration.schema import TrainConfig
from trm.errors import InputError
from trm.parallel.mesh import fetch_on_first
from trm.parallel.processes import decide_on_first, is_first
from trm.storage.locks import Locked
from trm.training.checkpoints import newest_checkpoint, save_checkpoint
from trm.training.saving.writer import Writer
from trm.training.signals import AGREE_EVERY
from trm.training.state import TrainState, trained_weights

RETRY_SECONDS = 60
"""Seconds until a failed save is tried again."""


class CheckpointManager:
    """Saves the checkpoints and the best weights of a run. With several processes all must make the same calls."""

    def __init__(
        self,
        run: Path,
        rules: TrainConfig,
        saved_step: int,
        renew: Callable[[], None],
        warn: Callable[[str], None],
        saved: Callable[[int], None] = lambda step: None,
    ):
        """Take the step of the newest checkpoint, and functions that create a removed run folder again and print a
        line.

        `saved` is called, on the thread that writes, with the step of a checkpoint that is in place.
        """
        self._run, self._rules, self._renew, self._warn, self._saved = run, rules, renew, warn, saved
        self._saved_step = saved_step
        self._writer = Writer()
        self._best: tuple[Any, Description] | None = None
        """Best weights that are not yet written."""
        self._due_at = self._next_time()

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(self, *_: object) -> None:
        # A save that has begun is completed, however the run ends.
        self._writer.wait()

    def is_due(self, step: int) -> bool:
        """Return whether to save after a step without evaluation. Raises other errors of the thread than InputError."""
        self._look()
        rules = self._rules
        if rules.checkpoint_interval_steps and step % rules.checkpoint_interval_steps == 0:
            return True
        if jax.process_count() > 1 and step % AGREE_EVERY:
            return False
        # One process decides, by its clock and its last save.
        return decide_on_first(lambda: time.monotonic() >= self._due_at and not self._writer.is_busy)

    def save(self, state: TrainState, description: Description, best: Description | None = None) -> None:
        """Copy a state and begin to write it; with `best`, first its weights as the best ones of the run."""
        self.wait()
        copy = copy_to_host(state)
        self._due_at = self._next_time()
        if not is_first():
            return
        if best:
            self._best = trained_weights(copy), best
        try:
            self._renew()
        except Locked:
            # Another run has begun in a new folder of this name, where this run must not write.
            raise
        except InputError as error:
            self._failed(error)
            return

        def write() -> None:
            # The best weights must be in place before a checkpoint that names them.
            self._write_best()
            save_checkpoint(self._run, copy, description, self._rules.keep_checkpoints)
            self._saved_step = description.step
            self._saved(description.step)

        self._writer.start(write)

    def wait(self) -> None:
        """Wait for the end of a save; warn if it failed."""
        self._writer.wait()
        self._look()

    def finish(self) -> None:
        """Wait, and write best weights that could not be written before; raise InputError if they still cannot be."""
        self.wait()
        if is_first():
            self._write_best()

    def has_saved(self, step: int) -> bool:
        """Return, after a wait, whether a checkpoint of a step is in place."""
        self.wait()
        return decide_on_first(lambda: self._saved_step >= step)

    def newest(self) -> Path | None:
        """Return, after a wait, the newest checkpoint in the run folder."""
        self.wait()
        return newest_checkpoint(self._run)

    def _write_best(self) -> None:
        if self._best:
            save(self._run / "best.safetensors", *self._best)
            self._best = None

    def _look(self) -> None:
        if failure := self._writer.take_failure():
            self._failed(failure)

    def _failed(self, error: InputError) -> None:
        # A retry is due even without an interval: hours may pass before the next evaluation.
        self._due_at = min(self._next_time(), time.monotonic() + RETRY_SECONDS)
        self._warn(f"warning: no checkpoint: {error}; the run goes on, and tries again within {RETRY_SECONDS} s")

    def _next_time(self) -> float:
        minutes = self._rules.checkpoint_interval_minutes
        return time.monotonic() + 60 * minutes if minutes else math.inf


def copy_to_host(state: TrainState) -> TrainState:
    """Copy a state to memory that no later step changes; processes other than process 0 only take part in it."""
    host = fetch_on_first(state)
    if host is None:
        return state
    on_cpu = next(iter(state.step.devices())).platform == "cpu"

    def own(array: np.ndarray) -> np.ndarray:
        # On a CPU an array on the host may be the device's own memory.
        return array.copy() if on_cpu and not array.flags.owndata else array

    return jax.tree.map(own, host)
