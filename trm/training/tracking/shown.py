"""Values that a run shows of itself: the newest ones, smoothed where single steps vary.

Entry: `Shown`; its `text` is one line, its `rows` are those of the live view.
"""

import datetime
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

SMOOTHING = 0.9
"""Weight of the past in the moving averages that are shown."""


class Evaluated(NamedTuple):
    """Exact accuracy in the evaluations on one set."""

    newest: float
    step: int
    best: float
    best_step: int


class Shown:
    """The newest values of a run. `log` makes only a few additions: it is called at every step."""

    def __init__(self, steps: int, start: int):
        self.steps, self.step = steps, start
        self.doing = "compiling"
        """What the run does instead of training; empty while it trains."""
        self.saved: tuple[int, float] | None = None
        """Step of the newest checkpoint that this program wrote, and the time of `time.monotonic`."""
        self._smooth: dict[str, float] = {}
        self._newest: dict[str, Any] = {}
        self._evaluated: dict[str, Evaluated] = {}

    def log(self, metrics: dict[str, Any]) -> bool:
        """Take a line of metrics; return whether it is that of a training step."""
        if "train/lm_loss" not in metrics:
            self._take_evaluation(metrics)
            return False
        self.step, self.doing, self._newest = metrics["step"], "", metrics
        for name in ("lm_loss", "q_halt_loss", "q_continue_loss", "exact_accuracy", "steps", "steps_per_second"):
            # Some steps have no speed, and no accuracy where no sequence halted.
            if (key := f"train/{name}") in metrics:
                new: float = metrics[key]
                old = self._smooth.get(name, new)
                self._smooth[name] = SMOOTHING * old + (1 - SMOOTHING) * new
        return True

    def _take_evaluation(self, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            which, _, metric = name.rpartition("/")
            if metric != "exact_accuracy":
                continue
            split, _, inner = which.rpartition("/")
            of = " ".join(part for part in (split or "test", inner if inner != "all" else "") if part)
            step, before = metrics["step"], self._evaluated.get(of)
            is_best = before is None or value > before.best
            best, best_step = (value, step) if before is None or is_best else (before.best, before.best_step)
            self._evaluated[of] = Evaluated(value, step, best, best_step)

    @property
    def text(self) -> str:
        """One line: loss, exact accuracy, speed."""
        loss, exact = self._newest.get("train/lm_loss", math.nan), self._smooth.get("exact_accuracy", math.nan)
        text = f"loss {loss:.3f} exact {exact:.3f}"
        if "steps_per_second" in self._smooth:
            speed = self._smooth["steps_per_second"]
            text += f" {speed:.1f} steps/s {speed * self._puzzles_per_step:.0f} puzzles/s"
        return text

    @property
    def time_left(self) -> str:
        """Time left as h:mm:ss at the speed of the training steps; empty where that is not known."""
        speed = self._smooth.get("steps_per_second")
        return str(datetime.timedelta(seconds=round((self.steps - self.step) / speed))) if speed else ""

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Yield rows of the live view: a name and its parts, the most important first."""
        smooth, newest = self._smooth, self._newest
        losses = [("tokens", "lm_loss"), ("halting", "q_halt_loss"), ("continuing", "q_continue_loss")]
        yield "loss", [f"{name} {smooth[key]:.4f}" for name, key in losses if key in smooth]
        exact = [f"train {smooth['exact_accuracy']:.3f}"] if "exact_accuracy" in smooth else []
        for name, of in list(self._evaluated.items()):
            best = "" if of.step == of.best_step else f" (best {of.best:.3f} at {of.best_step:,})"
            exact.append(f"{name} {of.newest:.3f} at step {of.step:,}{best}")
        yield "exact", exact
        halting = [f"after {smooth['steps']:.1f} steps"] if "steps" in smooth else []
        yield "halting", halting + ([f"learning rate {newest['train/lr']:.3g}"] if "train/lr" in newest else [])
        yield "speed", list(self._speeds())
        yield "saved", list(self._saved())

    def _speeds(self) -> Iterator[str]:
        if "steps_per_second" in self._smooth:
            speed = self._smooth["steps_per_second"]
            yield f"{speed:,.1f} steps/s" if speed >= 1 else f"{1 / speed:,.1f} s a step"
            yield f"{speed * self._puzzles_per_step:,.0f} puzzles/s"
        if "train/share_of_peak" in self._newest:
            yield f"{self._newest['train/share_of_peak']:.0%} of peak"
        for kind in ("device", "host"):
            if size := self._newest.get(f"train/{kind}_memory_bytes"):
                yield f"{size / 1e9:.1f} GB of {kind} memory"

    def _saved(self) -> Iterator[str]:
        if self.saved:
            step, at = self.saved
            seconds = time.monotonic() - at
            yield f"step {step:,}"
            yield f"{seconds:.0f} s ago" if seconds < 100 else f"{seconds / 60:.0f} min ago"

    @property
    def _puzzles_per_step(self) -> float:
        puzzles, steps = (self._newest.get(f"train/{name}_per_second", math.nan) for name in ("puzzles", "steps"))
        return puzzles / steps
