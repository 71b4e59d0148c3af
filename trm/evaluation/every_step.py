"""Evaluation after every supervision step, in one `Report` for each set.

Every puzzle gets all `halt_max_steps` supervision steps, whether or not the halting head would stop earlier. With
`halting.act_inference` the final answer is that of the step at which the head would stop. Every puzzle of the set is
evaluated; padding of the last batch does not count.

Entry: `make_evaluation_step`, `evaluate_every_step`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.evaluation.report import Accuracy, AccuracyByCompute, Predictions, Report, Scores, make_report, score
from trm.model.reasoner import Outputs
from trm.model.weights import Weights
from trm.parallel.mesh import AXIS, REPLICATED, SPLIT, cut, fetch, varying
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import load_test_batches
from trm.puzzles.prefetch import Prefetcher
from trm.supervision.batch import Batch, place_batch, select
from trm.supervision.carry import Carry
from trm.supervision.halting import wants_to_halt
from trm.supervision.loss import correctness, divide, loss_and_metrics
from trm.supervision.microbatches import pieces_of
from trm.supervision.step import supervision_step

Sums = dict[str, Float[Array, "..."]]
FinalAnswers = tuple[Int[Array, "batch seq_len"], Float[Array, " batch"]]
"""Predictions and q_halt logits of the final answers."""
EvaluationStep = Callable[[Weights, Batch], tuple[Sums, FinalAnswers]]


def make_evaluation_step(config: Config, mesh: Mesh, padding_counts: bool = False) -> EvaluationStep:
    """Compile the evaluation of one batch for a mesh.

    The compiled function returns sums over the puzzles that count, and the final answers. With `padding_counts` the
    padding of a batch has a q_halt loss too, as in the original; the sum then depends on the batch size.
    """

    platform = mesh.devices.flat[0].platform

    def local_step(weights: Weights, batch: Batch) -> tuple[Sums, FinalAnswers]:
        pieces = pieces_of(config, batch.inputs.shape[1], len(batch.inputs), platform, weights.model.digits)
        sums, answers = _evaluate_in_pieces(config, pieces, padding_counts, varying(weights), batch)
        # All sums go through one collective, as one vector.
        flat, unravel = ravel_pytree(sums)
        return unravel(jax.lax.psum(flat, AXIS)), answers

    sharded = jax.shard_map(local_step, mesh=mesh, in_specs=(REPLICATED, SPLIT), out_specs=(REPLICATED, SPLIT))
    return jax.jit(sharded, out_shardings=(NamedSharding(mesh, REPLICATED), NamedSharding(mesh, SPLIT)))


def evaluate_every_step(
    evaluation_step: EvaluationStep,
    weights: Weights,
    puzzles: PuzzleSet,
    batch_size: int,
    mesh: Mesh,
    on_answers: Callable[[Predictions], None] | None = None,
) -> dict[str, Report]:
    """Evaluate weights on every example of a puzzle set; `on_answers` receives every batch, of all processes.

    The metrics include the losses, and steps and accuracy if the halting head stops: halting_steps,
    halting_exact_accuracy. Raises InputError for a batch size that the devices cannot share.
    """
    if batch_size % mesh.size:
        raise InputError(f"batch size: found {batch_size}, expected a multiple of {mesh.size} devices")
    kind = kind_of(puzzles.metadata)
    totals: dict[str, dict[str, np.ndarray | np.float64]] = {}
    scores: dict[str, list[Scores]] = {}

    def batches() -> Iterator[tuple[str, Batch]]:
        for name, batch in load_test_batches(puzzles, batch_size, jax.process_index(), jax.process_count()):
            yield name, place_batch(batch, mesh)

    with Prefetcher(batches()) as prefetched:
        for name, batch in prefetched:
            sums, answers = evaluation_step(weights, batch)
            sums, answers, batch = fetch((sums, answers, batch))
            predictions = Predictions(*map(np.asarray, (batch.puzzle_identifiers, batch.inputs, *answers)))
            scores.setdefault(name, []).append(score(predictions, np.asarray(batch.labels), kind))
            if on_answers:
                on_answers(predictions)
            # In float64: a float32 sum over half a million puzzles would lose the last ones.
            sums = jax.tree.map(np.float64, sums)
            totals[name] = jax.tree.map(np.add, totals[name], sums) if name in totals else sums
    return {
        name: make_report(scores[name], puzzles.sets[name], _by_step(sums), _means(sums))
        for name, sums in totals.items()
    }


def _evaluate_in_pieces(
    config: Config, pieces: int, padding_counts: bool, weights: Weights, batch: Batch
) -> tuple[Sums, FinalAnswers]:
    """Evaluate a batch in pieces, as training does, which takes less memory."""
    if pieces == 1:
        return _evaluate_batch(config, padding_counts, weights, batch)
    if len(batch.inputs) % pieces:
        raise InputError(
            f"batch size: found {len(batch.inputs)} per device, expected a multiple of {pieces} (train.microbatches)"
        )
    sums, answers = jax.lax.map(
        lambda piece: _evaluate_batch(config, padding_counts, weights, piece), cut(batch, pieces)
    )
    sums = jax.tree.map(lambda of_pieces: of_pieces.sum(axis=0), sums)
    return sums, jax.tree.map(lambda of_pieces: of_pieces.reshape(-1, *of_pieces.shape[2:]), answers)


class _BatchState(NamedTuple):
    """State of a batch between two supervision steps."""

    carry: Carry
    halted: Bool[Array, " batch"]
    """Whether the halting head would have stopped already."""
    halting_exact: Float[Array, " batch"]
    """1 if the answer at which the head would stop is right, else 0."""
    halting_steps: Int[Array, " batch"]
    outputs: Outputs
    """Final outputs: of the last step, or with `act_inference` of the step at which the head would stop."""
    steps: Int[Array, " batch"]
    """Steps of the final outputs."""


def _evaluate_batch(config: Config, padding_counts: bool, weights: Weights, batch: Batch) -> tuple[Sums, FinalAnswers]:
    model, rules = weights.model, config.halting
    rows = weights.puzzle_table[batch.puzzle_identifiers]
    labelled = correctness(batch.labels, batch.labels).labelled

    def step(state: _BatchState, _: None) -> tuple[_BatchState, Sums]:
        carry, outputs = supervision_step(model, rows, state.carry, config, min_halt_steps=None)[1][:2]
        accuracy, exact = correctness(outputs.predictions, batch.labels)[:2]
        right = (exact & labelled).astype(jnp.float32)
        halts = ~state.halted & (wants_to_halt(outputs, rules) | (carry.steps == rules.halt_max_steps))
        settled = state.halted if rules.act_inference else jnp.zeros_like(state.halted)
        held = select(settled, (state.outputs, state.steps), (outputs, carry.steps))
        state = _BatchState(
            carry,
            state.halted | halts,
            jnp.where(halts, right, state.halting_exact),
            jnp.where(halts, carry.steps, state.halting_steps),
            *held,
        )
        return state, {"accuracy": jnp.sum(jnp.where(labelled, accuracy, 0.0)), "exact_accuracy": jnp.sum(right)}

    carry = Carry.empty(model, batch).refill(model, batch)
    _, shapes = jax.eval_shape(model, batch.inputs, rows, carry.latents)
    outputs = varying(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
    zeros = jnp.zeros_like(carry.steps)
    start = _BatchState(carry, zeros > 0, zeros.astype(jnp.float32), zeros, outputs, zeros)
    end, by_step = jax.lax.scan(step, start, length=rules.halt_max_steps)
    everyone = jnp.ones_like(end.halted)
    _, sums = loss_and_metrics(
        end.outputs, batch.labels, end.steps, everyone, None, config.loss, padding_counts=padding_counts
    )
    sums |= {
        "halting_steps": jnp.sum(jnp.where(labelled, end.halting_steps, 0)).astype(jnp.float32),
        "halting_exact_accuracy": jnp.sum(end.halting_exact),
        "accuracy_by_step": by_step["accuracy"],
        "exact_accuracy_by_step": by_step["exact_accuracy"],
    }
    return sums, (end.outputs.predictions, end.outputs.q_halt_logits)


def _means(totals: dict[str, np.ndarray | np.float64]) -> dict[str, float]:
    return divide({name: float(total) for name, total in totals.items() if not name.endswith("by_step")})


def _by_step(totals: dict[str, np.ndarray | np.float64]) -> list[AccuracyByCompute]:
    """Return the accuracy after each supervision step."""
    count = int(totals["count"])
    accuracies = (np.divide(totals[f"{name}_by_step"], count or np.nan) for name in ("accuracy", "exact_accuracy"))
    return [
        AccuracyByCompute(float(steps), 1, Accuracy.of(count, token, exact))
        for steps, (token, exact) in enumerate(zip(*(a.tolist() for a in accuracies), strict=True), start=1)
    ]
