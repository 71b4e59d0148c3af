"""Several processes of one run: what process 0 decides and reads for all, and what all must have the same.

Entry: `is_first`, `decide_on_first`, `arrays_of_first`, `agree`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from trm.errors import InputError

T = TypeVar("T")

CHUNK_BYTES = 1 << 24
"""Bytes that process 0 sends at once: each device holds them for a moment."""


def is_first() -> bool:
    """Return whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def decide_on_first(decide: Callable[[], Any]) -> Any:
    """Call a function in process 0 alone; return its result, a JSON value, in every process.

    All processes must call it at the same point. What only one of them can see, such as the newest file of a network
    file system, is then the same for all. An InputError is raised in every process.
    """
    if jax.process_count() == 1:
        return decide()
    answer: dict[str, Any] = {}
    if is_first():
        try:
            answer = {"value": decide()}
        except InputError as error:
            # Raised below, here as everywhere: a process that went on alone would wait for this one for ever.
            answer = {"error": str(error)}
    data = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    with jax.transfer_guard("allow"):
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
        padded = np.zeros(length, np.uint8)
        padded[: min(length, len(data))] = data[:length]
        answer = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def arrays_of_first(
    load: Callable[[], Sequence[np.ndarray]], like: Sequence[jax.Array | jax.ShapeDtypeStruct]
) -> list[np.ndarray]:
    """Load arrays in process 0 alone; return them, bit for bit, in every process. `like` has their shapes and dtypes.

    So the others need no file, and no file system has to show them what process 0 has just written.
    """
    loaded: list[np.ndarray] = []
    decide_on_first(lambda: loaded.extend(load()))
    if jax.process_count() == 1:
        return loaded
    arrays = [np.asarray(array, order="C") for array in loaded] or [np.empty(leaf.shape, leaf.dtype) for leaf in like]
    for array in arrays:
        _broadcast(array.reshape(-1).view(np.uint8))
    return arrays


def agree(what: str, value: T) -> T:
    """Return a value of which every process has its own; raise InputError in all where the JSON of one differs."""
    if jax.process_count() > 1:
        digest = np.frombuffer(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest(), np.uint8)
        with jax.transfer_guard("allow"):
            digests = np.asarray(multihost_utils.process_allgather(digest))
        others = np.flatnonzero((digests != digests[0]).any(axis=1))
        if others.size:
            raise InputError(
                f"{what}: found another in process {others[0]} than in process 0, expected the same on each host"
            )
    return value


def _broadcast(data: np.ndarray) -> None:
    """Fill bytes of other processes with those of process 0. As bytes: a sum of floats would lose the sign of zero."""
    for start in range(0, len(data), CHUNK_BYTES):
        part = data[start : start + CHUNK_BYTES]
        # Powers of two: one program for each, not one for each array.
        padded = np.zeros(min(CHUNK_BYTES, 1 << max(10, (len(part) - 1).bit_length())), np.uint8)
        padded[: len(part)] = part
        with jax.transfer_guard("allow"):
            sent = np.asarray(multihost_utils.broadcast_one_to_all(padded))
        if not is_first():
            part[:] = sent[: len(part)]
