"""The Tiny Recursive Model (arXiv 2510.04871) in JAX and Equinox.

    load("sudoku")                       a trained model: a file, one on the hub, or bundled weights by name
    load("sudoku").solve("53..7....6…")  answers: text, validity by the rules, confidence, supervision steps
    load("sudoku").reason(tokens)        latents, logits and halting values after every supervision step
    reason(weights, inputs, steps=16)    the same as a pure function of `Weights`
    config("sudoku_mlp", {...})          a checked configuration of an experiment
    train(config("sudoku_mlp"), "runs/sudoku", hooks=[...])
    evaluate("sudoku", "data/sudoku")    accuracy with intervals, one `Report` for each set
    inspect("sudoku", "data/sudoku")     latents, halting, cycles and mixing of a sample, as arrays
    PuzzleSet.from_arrays(...)           a puzzle set from arrays of tokens
    InputError                           the exception for input that is not as expected

Each name is imported when it is first used: inference imports neither optax nor the training loop, and a process that
builds puzzles does not import JAX.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm.checkpoints.format import load_weights
    from trm.errors import InputError
    from trm.evaluation.evaluate import evaluate
    from trm.evaluation.inspection import Inspection, inspect
    from trm.evaluation.report import Report
    from trm.model.weights import Weights
    from trm.puzzles.arrays import PuzzleSet
    from trm.solving.reason import Reasoning, reason
    from trm.solving.trained_model import Answer, TrainedModel, load
    from trm.training.experiment import config
    from trm.training.run import train

    __version__: str

__all__ = [
    "Answer",
    "InputError",
    "Inspection",
    "PuzzleSet",
    "Reasoning",
    "Report",
    "TrainedModel",
    "Weights",
    "__version__",
    "config",
    "evaluate",
    "inspect",
    "load",
    "load_weights",
    "reason",
    "train",
]

_MODULES = {
    "Answer": "trm.solving.trained_model",
    "InputError": "trm.errors",
    "Inspection": "trm.evaluation.inspection",
    "PuzzleSet": "trm.puzzles.arrays",
    "Reasoning": "trm.solving.reason",
    "Report": "trm.evaluation.report",
    "TrainedModel": "trm.solving.trained_model",
    "Weights": "trm.model.weights",
    "config": "trm.training.experiment",
    "evaluate": "trm.evaluation.evaluate",
    "inspect": "trm.evaluation.inspection",
    "load": "trm.solving.trained_model",
    "load_weights": "trm.checkpoints.format",
    "reason": "trm.solving.reason",
    "train": "trm.training.run",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("trm")
        except PackageNotFoundError:
            # A checkout that is not installed has no metadata.
            return "0+unknown"
    if name not in _MODULES:
        raise AttributeError(f"module 'trm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
