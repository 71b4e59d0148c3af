"""Losses: finite everywhere, equal to plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trm.configuration.schema import LossConfig
from trm.model.reasoner import Outputs
from trm.puzzles.metadata import IGNORED_LABEL
from trm.supervision.loss import LossType, correctness, divide, log_stablemax, loss_and_metrics, token_losses


def plain_log_stablemax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    s = np.array([v + 1 if v >= 0 else 1 / (1 - v) for v in logits.ravel()]).reshape(logits.shape)
    return np.log(s / s.sum(-1, keepdims=True))


def test_stablemax_agrees_with_its_definition():
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * 10
    logits[0] = 1.0
    logits[1] = [0.0, -0.0, 1.0, -1.0, 1e4, -1e4, 2.0]
    np.testing.assert_allclose(log_stablemax(jnp.asarray(logits)), plain_log_stablemax(logits), rtol=2e-6, atol=2e-6)


def test_stablemax_gradient_agrees_with_its_definition():
    """d/dv_j of log stablemax_0 is (j = 0) s'/s - s'(v_j) / sum s, with s' = 1 above zero and s squared below."""
    logits = np.array([1.0, 0.0, -0.0, -1.0, 3.5, -200.0, 1e-6], np.float32)
    s = np.where(logits >= 0, logits + 1, 1 / (1 - np.minimum(logits, 0))).astype(np.float64)
    slope = np.where(logits >= 0, 1, s**2)
    expected = -slope / s.sum()
    expected[0] += slope[0] / s[0]
    gradient = jax.grad(lambda v: log_stablemax(v)[0])(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("loss_type", ["stablemax_cross_entropy", "softmax_cross_entropy"])
def test_gradients_are_finite_for_every_finite_logit(dtype: jnp.dtype, loss_type: LossType):
    largest = float(jnp.finfo(dtype).max)
    special = [1.0, 0.0, -0.0, -1.0, 1e-30, -1e-30, largest, -largest, 1 + 2**-7, float(jnp.finfo(dtype).tiny)]
    logits = jnp.array([[[a, b] for a in special] for b in special], dtype)
    labels = jnp.zeros(logits.shape[:-1], jnp.int32)
    valid = jnp.ones_like(labels, bool)
    value, gradient = jax.value_and_grad(lambda v: token_losses(v, labels, valid, loss_type).mean())(logits)
    assert jnp.isfinite(gradient).all()
    # softmax of two logits at opposite ends of float32 is an infinity of surprise; stablemax never is.
    assert jnp.isfinite(value) or loss_type == "softmax_cross_entropy"


def make_outputs(logits: np.ndarray, q_halt: list[float]) -> Outputs:
    return Outputs(jnp.asarray(logits), jnp.asarray(q_halt), jnp.zeros(len(q_halt)))


def test_metrics_by_hand():
    """Five sequences: right, half right, running, without labels, wrong but sure."""
    labels = np.array([[1, 2], [1, 2], [1, 2], [IGNORED_LABEL] * 2, [1, IGNORED_LABEL]])
    predictions = np.array([[1, 2], [1, 0], [1, 2], [0, 0], [0, 0]])
    outputs = make_outputs(np.eye(3, dtype=np.float32)[predictions] * 4, [3.0, 0.0, 1.0, 1.0, 2.0])
    halted = jnp.array([True, True, False, True, True])
    steps = jnp.array([1, 2, 3, 4, 5])
    config = LossConfig(type="softmax_cross_entropy")
    loss, metrics = loss_and_metrics(outputs, jnp.asarray(labels), steps, halted, None, config)
    assert metrics["count"] == 3
    assert metrics["accuracy"] == 1.5
    assert metrics["exact_accuracy"] == 1
    assert metrics["q_halt_accuracy"] == 1
    assert metrics["steps"] == 8

    right, wrong = -np.log(np.exp([4, 0, 0]) / (np.exp(4) + 2))[[0, 1]]
    np.testing.assert_allclose(metrics["lm_loss"], right + (right + wrong) / 2 + right + 0 + wrong, rtol=1e-5)
    targets = [1, 0, 1, 1, 0]
    q_loss = sum(
        np.log1p(np.exp(-q)) if t else np.log1p(np.exp(q)) for q, t in zip([3, 0, 1, 1, 2], targets, strict=True)
    )
    np.testing.assert_allclose(metrics["q_halt_loss"], q_loss, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["lm_loss"] + 0.5 * metrics["q_halt_loss"], rtol=1e-6)


@pytest.mark.parametrize("loss_type", ["stablemax_cross_entropy", "softmax_cross_entropy"])
def test_label_smoothing_is_the_cross_entropy_of_a_spread_target(loss_type: LossType):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 5)).astype(np.float32) * 3
    labels = np.array([[1, 2, IGNORED_LABEL], [4, 0, 3]])
    target = 0.8 * np.eye(5)[np.maximum(labels, 0)] + 0.2 / 5
    s = np.exp(logits) if loss_type == "softmax_cross_entropy" else np.exp(plain_log_stablemax(logits))
    expected = -(target * np.log(s / s.sum(-1, keepdims=True))).sum(-1) * (labels != IGNORED_LABEL)
    valid = jnp.asarray(labels != IGNORED_LABEL)
    found = token_losses(jnp.asarray(logits), jnp.asarray(labels), valid, loss_type, label_smoothing=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_of_the_loss():
    """Of the halting head, of q_continue beside it, and of later supervision steps."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 4)).astype(np.float32)
    outputs = make_outputs(logits, [1.0, -1.0, 2.0])
    labels, steps, halted = jnp.array([[1, 2]] * 3), jnp.array([1, 2, 4]), jnp.zeros(3, bool)
    target = jnp.array([0.2, 0.5, 0.9])

    def losses(rows: slice, config: LossConfig) -> tuple[float, dict[str, float]]:
        part = jax.tree.map(lambda leaf: leaf[rows], outputs)
        loss, metrics = loss_and_metrics(part, labels[rows], steps[rows], halted[rows], target[rows], config)
        return float(loss), {name: float(value) for name, value in metrics.items()}

    everyone, flat = slice(None), LossConfig(halting_weight=0.05)
    loss, metrics = losses(everyone, flat)
    expected = metrics["lm_loss"] + 0.05 * (metrics["q_halt_loss"] + metrics["q_continue_loss"])
    assert loss == pytest.approx(expected, rel=1e-5)
    decayed, metrics_of_decayed = losses(everyone, LossConfig(halting_weight=0.05, step_decay=0.7))
    of_each = [losses(slice(row, row + 1), flat)[0] for row in range(3)]
    assert decayed == pytest.approx(of_each[0] + 0.7 * of_each[1] + 0.7**3 * of_each[2], rel=1e-5)
    assert metrics_of_decayed == metrics


def test_a_sequence_without_labels_is_right_and_counts_nothing():
    labels = jnp.full((1, 3), IGNORED_LABEL)
    accuracy, exact, labelled = correctness(jnp.zeros((1, 3), jnp.int32), labels)
    assert (float(accuracy[0]), bool(exact[0]), bool(labelled[0])) == (0.0, True, False)


def test_division():
    sums = {"count": 4.0, "accuracy": 3.0, "lm_loss": 8.0}
    assert divide(sums) == {"accuracy": 0.75, "lm_loss": 2.0}
    assert divide(sums, batch_size=16) == {"accuracy": 0.75, "lm_loss": 0.5}
    assert np.isnan(divide(sums | {"count": 0.0})["accuracy"])
