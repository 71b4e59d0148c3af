"""Several processes of one run: decisions that process 0 takes for all.

Entry: `decide_on_first`, `is_first`.
"""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from trm.errors import InputError


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
