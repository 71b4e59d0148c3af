"""Networks in pages: weights, settings and kernel, and the limits of a page. Entry: `embed_network`."""

import base64
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Float

from trm.checkpoints.tree import name_leaves
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.reasoner import Reasoner
from trm.model.weights import Weights
from trm.solving.trained_model import TrainedModel

RECURSIONS = ("trm", "trm_singlez", "trm_hier6", "hrm", "equilibrium", "transformers_baseline")
"""Recursions that `network.js` implements."""
KINDS = ("sudoku", "maze")
"""Kinds of puzzles whose rules `rules.js` implements."""
MOST_BYTES = 32 * 2**20
"""Maximum size of weights on a page: larger networks take minutes to answer there."""


def embed_network(model: TrainedModel) -> dict[str, Any]:
    """Return the network for a page: settings, and weights and kernel in base64.

    Weights that bfloat16 holds exactly are stored in it. Raises InputError for a network that a page cannot run.
    """
    check_embeddable(model)
    arrays = {name: np.asarray(array, np.float32) for name, array in _arrays(model.weights).items()}
    narrow = {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}
    exact = {name: bool((narrow[name].astype(np.float32) == array).all()) for name, array in arrays.items()}
    stored = b"".join((narrow[name] if exact[name] else array).tobytes() for name, array in arrays.items())
    if len(stored) > MOST_BYTES:
        raise InputError(
            f"{model.name}: found weights of {len(stored) / 2**20:.1f} MB, expected at most {MOST_BYTES >> 20} MB "
            "on a page that runs the network itself (trm play runs larger ones)"
        )
    described = [{"name": name, "shape": list(array.shape), "bfloat16": exact[name]} for name, array in arrays.items()]
    settings = _settings(model.config, model.weights.model, model.metadata.seq_len) | {"arrays": described}
    return {"settings": settings, "weights": _encode(stored), "kernel": _encode(kernel())}


def check_embeddable(model: TrainedModel) -> None:
    """Raise InputError for a model whose puzzle kind or recursion the scripts do not implement."""
    if model.kind.name not in KINDS:
        raise InputError(f"{model.name}: found a model of {model.kind.name}, expected one of {' or '.join(KINDS)}")
    if model.config.model.recursion not in RECURSIONS:
        found = model.config.model.recursion
        raise InputError(f"{model.name}: model.recursion: found {found!r}, expected one of {', '.join(RECURSIONS)}")


def kernel() -> bytes:
    """Return the WebAssembly kernel of matrix products, compiled from `kernel.wat`."""
    return files("trm.show.html").joinpath("kernel.wasm").read_bytes()


def _arrays(weights: Weights) -> Mapping[str, Float[np.ndarray, "..."]]:
    """Return the arrays of the network by name; `prefix` holds the vectors before the tokens."""
    model = weights.model
    arrays = {name: np.asarray(leaf) for name, leaf in name_leaves(model).items() if name != "register"}
    if model.register is not None:
        arrays["prefix"] = np.asarray(model.register)[None]
    elif model.prefix_len:
        hidden_size = model.embed_tokens.shape[-1]
        # A new puzzle has the row of the blank identifier.
        row = np.asarray(weights.puzzle_table[0])
        arrays["prefix"] = np.pad(row, (0, model.prefix_len * hidden_size - len(row))).reshape(-1, hidden_size)
    return arrays


def _settings(config: Config, model: Reasoner, cells: int) -> dict[str, Any]:
    section = config.model
    rotates = section.mixer == "attention" and section.positions in ("rope", "rope_grid")
    return {
        "recursion": section.recursion,
        "H_cycles": max(1, section.H_cycles),
        "L_cycles": section.L_cycles,
        "damping": section.damping,
        "latents": list(name_leaves(model.recursion.initial)),
        "answer": model.recursion.answer_latent,
        "cells": cells,
        "hidden": section.hidden_size,
        "prefix": model.prefix_len,
        "digits": model.digits,
        "vocab": model.vocab_size,
        "heads": section.num_heads,
        "theta": section.rope_theta if rotates else None,
        "onGrid": section.positions == "rope_grid" and math.isqrt(cells) ** 2 == cells,
        "eps": section.rms_norm_eps,
        "gateEps": section.rms_norm_eps if section.gate == "norm" else None,
        "stablemax": config.loss.type == "stablemax_cross_entropy",
        "learnsContinue": config.halting.q_continue != "unused",
    }


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
