"""Configurations that were tried on the original: each works here, or is refused in one line that names a setting."""

from collections.abc import Iterator
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights
from trm.puzzles.metadata import Metadata
from trm.supervision.loss import LossType, token_losses
from trm.training.state import TrainState, abstract_state

from .case import FORWARD, Case, Comparison
from .steps import Step, configure_settings, differentiate_step, take_step


def check_failures(case: Case) -> Iterator[Comparison]:
    """Check that every attempt ends well: what works in the original must work, what fails there may be refused."""
    for attempt in case.values["attempts"]:
        comparison = Comparison(attempt["title"])
        if "arch" not in attempt:
            _check_sliced_loss(comparison)
            yield comparison
            continue
        settings = case.values["base_config"] | attempt["changed"] | {"loss_type": attempt["loss_type"]}
        try:
            config, metadata = configure_settings(settings, attempt["arch"], attempt["batch"])
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
    """Trace a step, with gradients in training, on abstract arrays: whatever does not go together comes to light."""

    def step(state: TrainState) -> Step:
        weights, batch = Weights(state.model, state.puzzle_table), state.carry.batch
        if training:
            return differentiate_step(weights, state.carry, batch, state.carry.steps, config)[0]
        return take_step(weights, state.carry, batch, None, config)

    return jax.eval_shape(step, abstract_state(config, metadata))


def _check_sliced_loss(comparison: Comparison) -> None:
    """Check the token losses of logits that were cut off behind a prefix."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 20, 12)), jnp.float32)
    labels = jnp.asarray(rng.integers(12, size=(2, 16)), jnp.int32)
    valid = labels > 0
    for loss_type in get_args(LossType):
        cut = token_losses(logits[:, 4:], labels, valid, loss_type)
        copied = token_losses(jnp.array(np.array(logits)[:, 4:].copy()), labels, valid, loss_type)
        comparison.close(loss_type, cut, copied, FORWARD["float32"])
