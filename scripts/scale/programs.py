"""Training steps compiled for many virtual devices. Entries: `count_exchange`, `Exchange`.

Nothing runs: the step is compiled for abstract arrays, as a run on so many devices would compile it, and its
collectives are counted in the program.
"""

import dataclasses
import math
import time
from typing import NamedTuple

from benchmark.hlo import collectives, parse
from jax.sharding import Mesh

from trm.configuration.schema import Config
from trm.puzzles.metadata import Metadata
from trm.training.estimate import compile_train_step


class Exchange(NamedTuple):
    """What the devices exchange in a training step. Bytes are those of the result on each device."""

    collectives: int
    all_reduce_bytes: int
    all_gather_bytes: int
    other_bytes: int
    compile_seconds: float


def count_exchange(config: Config, metadata: Metadata, mesh: Mesh) -> Exchange:
    """Compile the training step for a mesh and count its collectives."""
    start = time.perf_counter()
    program = compile_train_step(config, metadata, mesh).as_text()
    seconds = time.perf_counter() - start
    found = list(collectives(*parse(program or "")))
    sizes = {"all-reduce": 0, "all-gather": 0, "other": 0}
    for collective in found:
        sizes[collective.kind if collective.kind in sizes else "other"] += collective.times * collective.bytes
    return Exchange(
        collectives=sum(collective.times for collective in found),
        all_reduce_bytes=sizes["all-reduce"],
        all_gather_bytes=sizes["all-gather"],
        other_bytes=sizes["other"],
        compile_seconds=seconds,
    )


def with_batch(config: Config, batch_size: int) -> Config:
    """Return the configuration with another global batch."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, global_batch_size=batch_size))


def shared_batch(batch_size: int, devices: int) -> int:
    """Return the next batch that the devices can share equally."""
    return devices * math.ceil(batch_size / devices)
