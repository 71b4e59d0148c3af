"""Loss and metrics of one supervision step, from its outputs and the labels.

Sums, not means: they add up over devices, microbatches and test batches, and are divided once, where they are reported.

Entry: `loss_and_metrics`, `divide`; `correctness` and `token_losses` are parts of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from trm.configuration.schema import LossConfig, LossType
from trm.model.digits import IMPOSSIBLE
from trm.model.reasoner import Outputs
from trm.puzzles.metadata import IGNORED_LABEL

Metrics = dict[str, Float[Array, "..."]]
"""Sums over the sequences of a batch: `count` and the sums divided by it (accuracy, exact_accuracy, q_halt_accuracy,
steps) are over sequences that halted and have a label; the losses are over all."""


def log_stablemax(logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
    """Return log(s / sum s) with s(v) = v + 1 for v >= 0 and 1 / (1 - v) below (arXiv 2501.04697), in float32.

    log s(v) is sign(v) log(1 + |v|), so this is a softmax of squashed logits: finite, with a finite gradient, for every
    finite logit.
    """
    logits = logits.astype(jnp.float32)
    negative = logits < 0
    # Select the argument, then the branch: the branch not taken must not put a NaN into the gradient.
    magnitude = jnp.log1p(jnp.where(negative, -logits, logits))
    return jax.nn.log_softmax(jnp.where(negative, -magnitude, magnitude), axis=-1)


def log_softmax(logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
    """Return the log of the softmax, in float32."""
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


LOG_PROBABILITIES: dict[LossType, Callable] = {
    "stablemax_cross_entropy": log_stablemax,
    "softmax_cross_entropy": log_softmax,
}
"""Functions from logits to log probabilities, by loss type."""


def token_losses(
    logits: Float[Array, "*batch seq_len vocab"],
    labels: Int[Array, "*batch seq_len"],
    valid: Bool[Array, "*batch seq_len"],
    loss_type: LossType,
    label_smoothing: float = 0.0,
) -> Float[Array, "*batch seq_len"]:
    """Return the cross entropy of every token with its smoothed label; 0 where it is not valid.

    Smoothing is over the tokens that an answer can contain: logits above `IMPOSSIBLE`.
    """
    log_probabilities = LOG_PROBABILITIES[loss_type](logits)
    of_labels = jnp.take_along_axis(log_probabilities, jnp.where(valid, labels, 0)[..., None], axis=-1)[..., 0]
    if label_smoothing:
        smooth = log_probabilities.mean(axis=-1, where=logits > IMPOSSIBLE)
        of_labels = (1 - label_smoothing) * of_labels + label_smoothing * smooth
    return -jnp.where(valid, of_labels, 0.0)


class Correctness(NamedTuple):
    """Whether the answer to each sequence is right."""

    accuracy: Float[Array, "*batch"]
    """Share of the labelled tokens that are right; 0 without labels."""
    exact: Bool[Array, "*batch"]
    """Every labelled token is right; so is a sequence without labels."""
    labelled: Bool[Array, "*batch"]


def correctness(predictions: Int[Array, "*batch seq_len"], labels: Int[Array, "*batch seq_len"]) -> Correctness:
    """Compare predictions with labels."""
    valid = labels != IGNORED_LABEL
    right = valid & (predictions == labels)
    labels_per_sequence = valid.sum(-1)
    return Correctness(
        accuracy=right.sum(-1) / jnp.maximum(labels_per_sequence, 1),
        exact=right.sum(-1) == labels_per_sequence,
        labelled=labels_per_sequence > 0,
    )


def loss_and_metrics(
    outputs: Outputs,
    labels: Int[Array, "batch seq_len"],
    steps: Int[Array, " batch"],
    halted: Bool[Array, " batch"],
    target_q_continue: Float[Array, " batch"] | None,
    config: LossConfig,
    *,
    padding_counts: bool = True,
) -> tuple[Float[Array, ""], Metrics]:
    """Return the loss summed over sequences, and the metrics.

    Per sequence: the mean token loss + `halting_weight` x (the binary cross entropy of q_halt against "every labelled
    token right" + that of q_continue against its target, if it has one), all of it x `step_decay ** (steps - 1)`.
    The losses among the metrics are not weighted.

    A sequence without labels (padding) counts as right. With `padding_counts` it has a q_halt loss, as in the original;
    an evaluation leaves it out, or the mean would depend on the padding of the last batch.
    """
    valid = labels != IGNORED_LABEL
    per_token = token_losses(outputs.logits, labels, valid, config.type, config.label_smoothing)
    lm_loss = per_token.sum(-1) / jnp.maximum(valid.sum(-1), 1).astype(jnp.float32)
    accuracy, exact, labelled = correctness(outputs.predictions, labels)
    q_halt_loss = optax.sigmoid_binary_cross_entropy(outputs.q_halt_logits, exact.astype(jnp.float32))
    if not padding_counts:
        q_halt_loss = jnp.where(labelled, q_halt_loss, 0.0)
    losses = {"lm_loss": lm_loss, "q_halt_loss": q_halt_loss}
    if target_q_continue is not None:
        losses["q_continue_loss"] = optax.sigmoid_binary_cross_entropy(outputs.q_continue_logits, target_q_continue)

    counted = halted & labelled
    metrics = {
        "count": counted,
        "accuracy": jnp.where(counted, accuracy, 0.0),
        "exact_accuracy": counted & exact,
        "q_halt_accuracy": counted & ((outputs.q_halt_logits >= 0) == exact),
        "steps": jnp.where(counted, steps, 0),
    }
    metrics = {name: per_sequence.astype(jnp.float32).sum() for name, per_sequence in metrics.items()}
    metrics |= {name: per_sequence.sum() for name, per_sequence in losses.items()}

    if config.step_decay < 1:
        weights = jnp.float32(config.step_decay) ** (steps - 1).astype(jnp.float32)
        losses = {name: weights * per_sequence for name, per_sequence in losses.items()}
    loss = losses.pop("lm_loss").sum()
    for of_head in losses.values():
        loss = loss + config.halting_weight * of_head.sum()
    return loss, jax.lax.stop_gradient(metrics)


def divide(sums: dict[str, float], batch_size: int | None = None) -> dict[str, float]:
    """Turn sums into the means that are reported; NaN where nothing counted.

    Losses are divided by `batch_size` (training: every sequence has one) or, without it, by the count (evaluation).
    """
    count = sums["count"] or float("nan")
    return {
        name: total / (batch_size if batch_size and name.endswith("loss") else count)
        for name, total in sums.items()
        if name != "count"
    }
