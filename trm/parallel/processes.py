"""Decisions and reads by process 0, and checks that all processes agree.

Entry: `is_first`, `decide_on_first`, `arrays_of_first`, `agree`.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from trm.errors import InputError

T = TypeVar("T")

CHUNK_BYTES = 1 << 24
"""Bytes in one broadcast, which every device has to hold."""

FAILING_SECONDS = 10
"""Seconds that a process waits for the others to receive the error that it raises, too."""


def is_first() -> bool:
    """Return whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def decide_on_first(decide: Callable[[], Any]) -> Any:
    """Call a function in process 0 alone; return its result, a JSON value, in every process.

    All processes must call it at the same point. Facts that may differ between hosts, such as the newest file of a
    network file system, are then the same for all. An InputError is raised in every process.
    """
    if jax.process_count() == 1:
        return decide()
    answer: dict[str, Any] = {}
    if is_first():
        try:
            answer = {"value": decide()}
        except InputError as error:
            # Raised below, in every process: one that continued would wait for this one forever.
            answer = {"error": str(error)}
    data = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    with jax.transfer_guard("allow"):
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
        padded = np.zeros(length, np.uint8)
        padded[: min(length, len(data))] = data[:length]
        answer = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
    if "error" in answer:
        _raise_in_all(answer["error"])
    return answer["value"]


def arrays_of_first(
    load: Callable[[], Sequence[np.ndarray]], like: Sequence[jax.Array | jax.ShapeDtypeStruct]
) -> list[np.ndarray]:
    """Load arrays in process 0 alone; return them, bit for bit, in every process. `like` has their shapes and dtypes.

    The others need no file, and their file system need not show one that process 0 has just written.
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
    """Return this process's value; raise InputError in every process if the value's JSON differs in one of them."""
    if jax.process_count() > 1:
        digest = np.frombuffer(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest(), np.uint8)
        with jax.transfer_guard("allow"):
            digests = np.asarray(multihost_utils.process_allgather(digest))
        others = np.flatnonzero((digests != digests[0]).any(axis=1))
        if others.size:
            _raise_in_all(
                f"{what}: found another in process {others[0]} than in process 0, expected the same on each host"
            )
    return value


def _raise_in_all(message: str) -> NoReturn:
    """Raise InputError once every process is about to raise it.

    A process that ends closes its connections. One that still waits for the exchange that found the error would report
    a lost process instead.
    """
    from jax._src.distributed import global_state

    client: Any = global_state.client
    # Whatever fails here, the error itself says more.
    with contextlib.suppress(Exception):
        client.key_value_set(f"trm/failing/{jax.process_index()}", "", allow_overwrite=True)
        for process in range(jax.process_count()):
            client.blocking_key_value_get(f"trm/failing/{process}", 1000 * FAILING_SECONDS)
        if is_first():
            # The others are connected to its service, and end first.
            time.sleep(1)
    raise InputError(message)


def _broadcast(data: np.ndarray) -> None:
    """Overwrite bytes of the other processes with those of process 0; a broadcast of floats loses the sign of zero."""
    for start in range(0, len(data), CHUNK_BYTES):
        part = data[start : start + CHUNK_BYTES]
        # Sizes are powers of two: one compiled program for each size, not for each array.
        padded = np.zeros(min(CHUNK_BYTES, 1 << max(10, (len(part) - 1).bit_length())), np.uint8)
        padded[: len(part)] = part
        with jax.transfer_guard("allow"):
            sent = np.asarray(multihost_utils.broadcast_one_to_all(padded))
        if not is_first():
            part[:] = sent[: len(part)]
