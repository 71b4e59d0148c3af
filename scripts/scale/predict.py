"""Predictions for many devices. Entries: `predict_step`, `predict_table`, `loader_cores`.

All are arithmetic on measured or computed step times, on counted bytes and on a `Network`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from scale.networks import Network

LAUNCH_SECONDS = 1e-6
"""Pause between two kernels, assumed. A small batch has as many kernels as a large one."""
FLOAT = INDEX = 4
"""Bytes of a number of the puzzle table, and of an identifier."""


class Step(NamedTuple):
    """A training step on many devices. The collectives follow the backward pass; nothing overlaps."""

    compute_ms: float
    all_reduce_ms: float
    all_gather_ms: float
    step_ms: float
    puzzles_per_second: float
    efficiency: float
    """Puzzles per second, of those of as many devices that need not talk and have the batch they do best with."""
    puzzles_per_second_per_host: float


def predict_step(
    seconds: Mapping[int, float], network: Network, devices: int, batch_size: int, dense_bytes: int, row_size: int
) -> Step:
    """Predict a step from the seconds that one device needs for some batches, `batch_size / devices` among them."""
    compute = seconds[batch_size // devices]
    reduce = network.all_reduce_seconds(dense_bytes, devices)
    gather = network.all_gather_seconds(gathered_bytes(batch_size, row_size), devices) if row_size else 0.0
    step = compute + reduce + gather
    alone = max(batch / needed for batch, needed in seconds.items())
    speed = batch_size / step
    return Step(
        1e3 * compute,
        1e3 * reduce,
        1e3 * gather,
        1e3 * step,
        speed,
        speed / (devices * alone),
        speed / network.hosts(devices),
    )


def gathered_bytes(batch_size: int, row_size: int) -> int:
    """Return the bytes of all gradients of puzzle rows in a batch, each with its identifier."""
    return batch_size * (row_size * FLOAT + INDEX)


class TablePlan(NamedTuple):
    """The puzzle table of a run with one way to lay it out."""

    gb_per_device: float
    mb_received: float
    """By each device in a step: rows that it looks up, gradients of rows that it updates."""
    ms: float


def predict_table(layout: str, network: Network, devices: int, batch_size: int, rows: int, row_size: int) -> TablePlan:
    """Predict what a table costs that every device holds, that the devices of a host share, or that all share.

    replicated: each device looks its own rows up and gets the gradients of all; all make the same updates.
    host: as replicated, but a device holds a part, so rows are looked up with the other devices of the host: it gets
    the identifiers of the host's sequences and, from the owners, the rows of its own.
    all: rows and gradients travel between a sequence's device and a row's owner, each once, and identifiers before.
    """
    table, row, local = rows * row_size * FLOAT, row_size * FLOAT, batch_size // devices
    gathered = gathered_bytes(batch_size, row_size)
    if layout == "replicated":
        others = gathered * (devices - 1) / devices
        return TablePlan(table / 1e9, others / 1e6, 1e3 * network.all_gather_seconds(gathered, devices))
    group = min(devices, network.host_devices) if layout == "host" else devices
    outside = (group - 1) / group
    seconds = network.all_to_all_seconds(local * INDEX, group) + network.all_to_all_seconds(local * row, group)
    received = local * (INDEX + row) * outside
    if layout == "host":
        seconds += network.all_gather_seconds(gathered, devices)
        received += gathered * (devices - 1) / devices
    else:
        seconds += network.all_to_all_seconds(local * (row + INDEX), group)
        received += local * (row + INDEX) * outside
    return TablePlan(table / group / 1e9, received / 1e6, 1e3 * seconds)


def loader_cores(puzzles_per_second_per_host: float, measured_per_core: float) -> float:
    """Return the cores of a host that must load puzzles so that its devices do not wait."""
    return puzzles_per_second_per_host / measured_per_core
