"""Checkpoints of the original PyTorch program as weights of ours, with the configuration they need.

Entry: `import_weights`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from trm.configuration.reading import config_from_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights, abstract_weights
from trm.original.files import read_state_dict
from trm.original.settings import read_settings, recursion_of, require_known, tables_from_settings, tables_from_tensors
from trm.original.state_dict import PUZZLE_TABLE, bare, from_state_dict
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.metadata import Metadata
from trm.solving.reason import reason

SETTINGS_FILE = "all_config.yaml"
"""Name of the file with settings that the original's training script writes beside its checkpoints."""


def import_weights(
    path: str | Path, settings_file: str | Path | None, puzzles: PuzzleSet, data: str, overrides: Sequence[str] = ()
) -> tuple[Weights, Config, Metadata]:
    """Read a checkpoint of any of the original's models that was trained on a puzzle set.

    The configuration comes from names and shapes of the tensors, then from the settings file if there is one, then from
    `overrides` (`section.key=value`). The metadata is that of the puzzle set, with one puzzle identifier for each
    puzzle-embedding row in the file.

    Raises InputError, naming the file and the tensor or key, when something is missing, unknown or contradictory.
    """
    tensors = bare(read_state_dict(path))
    try:
        config = _configure(path, tensors, settings_file, puzzles.metadata, data, overrides)
        rows = len(tensors[PUZZLE_TABLE]) if PUZZLE_TABLE in tensors else puzzles.metadata.num_puzzle_identifiers
        metadata = dataclasses.replace(puzzles.metadata, num_puzzle_identifiers=rows)
        like = abstract_weights(config.model, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
        weights = from_state_dict(tensors, like)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _try(path, weights, metadata)
    return weights, config, metadata


def _configure(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    settings_file: str | Path | None,
    metadata: Metadata,
    data: str,
    overrides: Sequence[str],
) -> Config:
    tables = tables_from_tensors(tensors, metadata)
    if settings_file:
        for section, table in tables_from_settings(read_settings(settings_file), recursion_of(tensors)).items():
            tables[section] = tables.get(section, {}) | table
    tables["data"] = {"path": data}
    set_keys = {override.partition("=")[0].strip() for override in overrides}
    require_known(tables, set_keys, str(settings_file) if settings_file else f"an {SETTINGS_FILE} beside {path}")
    return config_from_tables(tables, overrides)


def _try(path: str | Path, weights: Weights, metadata: Metadata) -> None:
    """Take a supervision step on an empty puzzle: the arrays must fit together, and the outputs must be finite."""
    inputs = jnp.full((1, metadata.seq_len), metadata.pad_id, jnp.int32)
    outputs = jax.jit(lambda weights: reason(weights, inputs, steps=1).outputs)(weights)
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs)):
        raise InputError(f"{path}: found weights whose answer is not finite, expected a trained model")
