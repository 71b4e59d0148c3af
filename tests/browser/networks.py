"""Small models with random weights, and calls of the pages' scripts."""

from typing import Any

import equinox as eqx
import jax
from conftest import tiny_config

from trm.checkpoints.description import Description
from trm.model.reasoner import Reasoner
from trm.model.weights import Weights
from trm.puzzles.metadata import Metadata
from trm.show.html.page import read
from trm.solving.trained_model import TrainedModel


def random_model(side: int = 4, kind: str = "sudoku", **sections: Any) -> TrainedModel:
    """Return a model with random weights, also where training begins with zeros."""
    vocab_size = 6 if kind == "maze" else side + 2
    metadata = Metadata(0, None, 0, vocab_size, side * side, 2, 1, 1.0, 1, ["all"], kind)
    config = tiny_config(**sections)
    model = Reasoner(config.model, vocab_size, side * side, key=jax.random.key(1))
    q_head = 0.5 * jax.random.normal(jax.random.key(2), model.q_head.weight.shape)
    model = eqx.tree_at(lambda m: m.q_head.weight, model, q_head)
    table = jax.random.normal(jax.random.key(3), (2, config.model.row_size))
    return TrainedModel(Weights(model, table), Description("weights", config, metadata, 1, averaged=True), "tiny")


def script(names: list[str], body: str) -> str:
    """Return a JavaScript function of `argument`: the scripts of pages with these names, then the body."""
    return f"(argument) => {{ {read(*names)}\n{body} }}"
