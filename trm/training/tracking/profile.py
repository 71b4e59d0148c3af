"""A profile of some training steps, by JAX's profiler, in the run folder. Entry: `Profile`, a tracker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"
STEPS_BEFORE = 2
"""Steps before the profile begins: the first is compiled, and the next may still warm caches up."""


class Profile:
    """Profiles at least `steps` whole steps after compilation into `RUN/profile/`, then calls `say` with a line."""

    def __init__(self, run: Path, steps: int, say: Callable[[str], None]):
        self._folder, self._say = run / FOLDER, say
        # The line of a step comes when the next step has begun: n lines later n whole steps have passed.
        self._begin, self._end = STEPS_BEFORE, STEPS_BEFORE + 1 + steps
        self._steps = 0
        self._running = False

    def log(self, metrics: dict[str, Any], /) -> None:
        if "train/lm_loss" not in metrics:
            return
        self._steps += 1
        if self._steps == self._begin:
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif self._steps == self._end:
            self.close()

    def close(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            self._say(self.text)
        elif self._steps < self._begin:
            self._say(f"warning: --profile: the run ended before a profile began, after {self._steps} steps")

    @property
    def text(self) -> str:
        """Where the profile is and how to look at it."""
        return (
            f"profile of {min(self._steps, self._end) - self._begin - 1} steps in {self._folder}; to look at it: "
            f"pip install xprof, xprof --logdir {self._folder}; or open the newest .trace.json.gz in it at "
            "https://ui.perfetto.dev"
        )
