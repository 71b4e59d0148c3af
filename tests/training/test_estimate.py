"""Estimates of a run without training; every experiment's step is traced and lowered on abstract arrays."""

import re

import jax
import pytest
from conftest import GOLDEN, tiny_config

from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.metadata import Metadata
from trm.puzzles.reading import read_puzzle_set
from trm.storage.bundled import config_names, config_path
from trm.training.estimate import estimate, lower_train_step
from trm.training.state import abstract_state, total_steps

METADATA = {
    "sudoku": sudoku_build.metadata_of(1000, 9),
    "": sudoku_build.metadata_of(1000, 6),
    "maze": maze_build.metadata_of(1000, 30),
    "arc": read_puzzle_set(GOLDEN / "arc_small" / "dataset", "train").metadata,
}
CONFIGS = {name: read_config(config_path(name)) for name in config_names()}


def metadata_for(config: Config) -> Metadata:
    """Return the metadata of a set of the kind of puzzle that an experiment names."""
    return METADATA[re.sub(r"^data/|[-\d].*$", "", str(config.data.path))]


FAST = ("sudoku_att", "sudoku_digits")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in CONFIGS]
)
def test_a_training_step_lowers(name: str):
    config = CONFIGS[name]
    text = lower_train_step(config, metadata_for(config), make_mesh(min(4, len(jax.devices())))).as_text()
    assert "stablehlo.dot_general" in text


@pytest.mark.parametrize("name", config_names())
def test_every_experiment_has_a_state_and_steps(name: str):
    config = CONFIGS[name]
    state = abstract_state(config, metadata_for(config))
    assert state.carry.batch.inputs.shape[0] == config.train.global_batch_size
    assert state.model.embed_tokens.shape[-1] == config.model.hidden_size
    assert total_steps(config, metadata_for(config)) > 0


def test_published_sizes():
    """Steps and parameters of the published Sudoku runs."""
    metadata = sudoku_build.metadata_of(1000, 9)
    assert total_steps(CONFIGS["sudoku_mlp"], metadata) == 65_104
    for name, parameters in {"sudoku_mlp": 5_028_866, "sudoku_att": 6_828_034}.items():
        # The original counts its two initial latents among buffers, not parameters.
        assert sum(leaf.size for leaf in jax.tree.leaves(abstract_state(CONFIGS[name], metadata).ema)) == parameters


def test_counts_of_an_estimate():
    sizes = estimate(tiny_config(), sudoku_build.metadata_of(20, 4), make_mesh(1))
    assert sizes.steps == 15
    assert sizes.examples == 15 * 8
    assert sizes.puzzle_table == 16
    assert sizes.state_bytes > 4 * 3 * sizes.parameters
    assert sizes.temporary_bytes > 0
