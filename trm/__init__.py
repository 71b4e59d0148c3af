"""The Tiny Recursive Model (arXiv 2510.04871) in JAX and Equinox.

What a program that uses the library needs first:

    load_weights("sudoku")          weights out of a checkpoint, or that come along, and what the file says of itself
    reason(weights, inputs, ...)    supervision steps on puzzles: latents, logits and halting values after each
    Weights, Reasoning              what these return
    InputError                      what they raise for input that they cannot take

They are imported when they are used: a process that only builds puzzles does not wait for JAX.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm.checkpoints.format import load_weights
    from trm.errors import InputError
    from trm.model.weights import Weights
    from trm.solving.reason import Reasoning, reason

__all__ = ["InputError", "Reasoning", "Weights", "load_weights", "reason"]

_HOME = {
    "InputError": "trm.errors",
    "Reasoning": "trm.solving.reason",
    "Weights": "trm.model.weights",
    "load_weights": "trm.checkpoints.format",
    "reason": "trm.solving.reason",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'trm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
