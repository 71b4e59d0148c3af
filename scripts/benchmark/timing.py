"""Timing: calls that wait for their result, and programs that take turns. Entries: `timed`, `take_turns`."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def timed(call: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """Call and wait until the result is there; return it with the seconds that this took."""
    start = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return result, time.perf_counter() - start


def take_turns(programs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each program once per round, and return the seconds that each reports.

    Programs that take turns share the machine's good and bad minutes, so their medians can be compared.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            seconds[name].append(program())
    return seconds
