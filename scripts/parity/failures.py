"""Configurations that were tried on the original. Entry: `check_failures`.

Each works here, or ends in an error of one line that names a setting.
"""

from collections.abc import Callable, Iterator
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.recursions import check_model
from trm.model.weights import Weights
from trm.puzzles.metadata import Metadata
from trm.supervision.loss import LossType, token_losses
from trm.training.state import TrainState, abstract_state

from .case import FORWARD, Case, Comparison
from .steps import Step, configure_settings, differentiate_step, take_step


def check_failures(case: Case) -> Iterator[Comparison]:
    """Check every attempt: what works in the original must work here; what fails there may be refused."""
    for attempt in case.values["attempts"]:
        comparison = Comparison(attempt["title"])
        if "arch" not in attempt:
            _check_sliced_loss(comparison)
            yield comparison
            continue
        settings = case.values["base_config"] | attempt["changed"] | {"loss_type": attempt["loss_type"]}
        try:
            config, metadata = configure_settings(settings, attempt["arch"], attempt["batch"])
            check_model(config.model)
        except InputError as error:
            message = str(error)
            comparison.equal(f"refused, though the original takes it: {message}", attempt["result"]["ok"], False)
            named = [name for name in (*settings, "model") if name in message]
            comparison.equal(f"refused without naming a setting: {message}", bool(named) and "\n" not in message, True)
        else:
            step = trace_step(config, metadata, training=attempt["mode"] == "train")
            shape = (attempt["batch"], metadata.seq_len, metadata.vocab_size)
            comparison.equal("shape of the logits", step.outputs.logits.shape, shape)
            comparison.equal("shape of the loss", step.loss.shape, ())
        yield comparison


def trace_step(config: Config, metadata: Metadata, training: bool) -> Step:
    """Trace a step, with gradients in training, on abstract arrays, so that incompatible settings raise."""

    def step(state: TrainState) -> Step:
        weights, batch = Weights(state.model, state.puzzle_table), state.carry.batch
        if training:
            return differentiate_step(weights, state.carry, batch, state.carry.steps, config)[0]
        return take_step(weights, state.carry, batch, None, config)

    return jax.eval_shape(step, abstract_state(config, metadata))


def _check_sliced_loss(comparison: Comparison) -> None:
    """Check the token losses of logits that were sliced after a prefix, against float64 sums written out here."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(2, 20, 12)).astype(np.float32)
    labels = rng.integers(12, size=(2, 16)).astype(np.int32)
    expected = {name: _cross_entropies(logits[:, 4:], labels, scores) for name, scores in _SCORES.items()}
    sliced = jnp.asarray(logits)[:, 4:]
    for loss_type in get_args(LossType):
        found = token_losses(sliced, jnp.asarray(labels), jnp.asarray(labels > 0), loss_type)
        comparison.close(loss_type, found, expected[loss_type], FORWARD["float32"])


_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax_cross_entropy": np.exp,
    "stablemax_cross_entropy": lambda v: np.where(v >= 0, v + 1, 1 / (1 - np.minimum(v, 0))),
}
"""The positive score s(v) of a logit v; a probability is s / sum s."""


def _cross_entropies(logits: np.ndarray, labels: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return -log(s(v of the label) / sum s) of each token, 0 where the label is 0."""
    losses = np.zeros(labels.shape)
    for place in np.ndindex(*labels.shape):
        if label := labels[place]:
            of_token = scores(logits[place].astype(np.float64))
            losses[place] = -np.log(of_token[label] / of_token.sum())
    return losses
