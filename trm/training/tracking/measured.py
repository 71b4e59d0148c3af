"""Measurements of the machine at each step: time, speed, memory.

Entry: `Measured`. These values differ between two runs with the same numbers; `is_measured` tells them from the others.
"""

import datetime
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

MEASURED = (
    "time",
    "steps_per_second",
    "puzzles_per_second",
    "device_memory_bytes",
    "host_memory_bytes",
    "flops_per_second",
    "share_of_peak",
)

PEAK_FLOPS = {"NVIDIA A100": 312e12, "NVIDIA H100": 989e12, "NVIDIA H200": 989e12, "NVIDIA B200": 2250e12}
"""Dense bfloat16 FLOPs per second of devices, by the beginning of their names, as their makers state them."""


def is_measured(name: str) -> bool:
    """Return whether a metric is a measurement of the machine, not of the network."""
    return name.rpartition("/")[2] in MEASURED


def now() -> str:
    """Return the time in UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Measured:
    """Measures training steps."""

    def __init__(self, batch_size: int, mesh: Mesh, step_flops: Callable[[int], int]):
        """`step_flops` returns the FLOPs of a training step, which change with a curriculum."""
        self._batch_size, self._step_flops = batch_size, step_flops
        # The memory of other processes' devices is not known.
        self._device = mesh.local_devices[0]
        names = (name for name in PEAK_FLOPS if self._device.device_kind.startswith(name))
        self._peak = mesh.size * PEAK_FLOPS[name] if (name := next(names, None)) else math.nan
        self._previous = math.nan

    def restart(self) -> None:
        """Begin a new interval, after something other than a training step."""
        if not math.isnan(self._previous):
            # Before the first step nothing is measured: its time is that of the compiler.
            self._previous = time.monotonic()

    def step(self, step: int) -> dict[str, Any]:
        """Return the measurements at the end of a step. The first step has no speed: it was compiled."""
        end = time.monotonic()
        speed = 1 / max(end - self._previous, 1e-9)
        self._previous = end
        flops = speed * self._step_flops(step)
        return {
            "steps_per_second": speed,
            "puzzles_per_second": speed * self._batch_size,
            "flops_per_second": flops,
            # NaN, and so left out, for devices whose peak is not known.
            "share_of_peak": flops / self._peak,
        } | self._memory()

    def _memory(self) -> dict[str, int]:
        statistics = self._device.memory_stats() or {}
        if "bytes_in_use" in statistics:
            return {"device_memory_bytes": statistics["bytes_in_use"]}
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        except OSError:
            # Only Linux has this file; memory is no reason to end a run.
            return {}
        return {"host_memory_bytes": pages * os.sysconf("SC_PAGE_SIZE")}
