"""Evaluation: what enters are weights and a puzzle set, what leaves is one `Report` per set.

Every puzzle gets all `halt_max_steps` supervision steps, whatever the halting head says; the whole set is seen, the
last batch padded with sequences that do not count. A maze may have many shortest paths, of which the label is one:
how many answers are some shortest path is reported too.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int

from trm.checkpoint import Weights
from trm.config import Config
from trm.data import maze
from trm.data.loader import Prefetcher, load_test_batches
from trm.data.puzzles import PuzzleSet
from trm.devices import AXIS, REPLICATED, SPLIT, cut, fetch, varying
from trm.errors import InputError
from trm.halting import Batch, Carry, place_batch, wants_to_halt
from trm.loss import correctness, divide
from trm.supervision import supervision_step


class Report(NamedTuple):
    """Accuracy of one set of puzzles."""

    examples: int
    """Puzzles that counted: those with at least one label."""
    metrics: dict[str, float]
    """After the last step: accuracy (of tokens), exact_accuracy, q_halt_accuracy, steps, losses, for mazes
    shortest_path_accuracy. If the halting head had its way: halting_steps, halting_exact_accuracy."""
    accuracy_by_step: list[float]
    exact_accuracy_by_step: list[float]


Sums = dict[str, Float[Array, "..."]]
EvaluationStep = Callable[[Weights, Batch], tuple[Sums, Int[Array, "batch seq_len"]]]


def make_evaluation_step(config: Config, mesh: Mesh) -> EvaluationStep:
    """Compile the evaluation of one batch for a mesh.

    It returns sums over the puzzles that count, and the answers after the last step.
    """

    def local_step(weights: Weights, batch: Batch) -> tuple[Sums, Int[Array, "batch seq_len"]]:
        sums, answers = _evaluate_in_pieces(config, varying(weights), batch)
        # One collective: everything that is summed travels as one vector.
        flat, unravel = ravel_pytree(sums)
        return unravel(jax.lax.psum(flat, AXIS)), answers

    sharded = jax.shard_map(local_step, mesh=mesh, in_specs=(REPLICATED, SPLIT), out_specs=(REPLICATED, SPLIT))
    return jax.jit(sharded, out_shardings=(NamedSharding(mesh, REPLICATED), NamedSharding(mesh, SPLIT)))


def evaluate(
    evaluation_step: EvaluationStep, weights: Weights, puzzles: PuzzleSet, batch_size: int, mesh: Mesh
) -> dict[str, Report]:
    """Evaluate weights on every example of a puzzle set."""
    if batch_size % mesh.size:
        raise InputError(f"batch size: found {batch_size}, expected a multiple of {mesh.size} devices")
    totals: dict[str, dict[str, np.ndarray | np.float64]] = {}

    def batches() -> Iterator[tuple[str, Batch]]:
        for name, batch in load_test_batches(puzzles, batch_size, jax.process_index(), jax.process_count()):
            yield name, place_batch(batch, mesh)

    with Prefetcher(batches()) as prefetched:
        for name, batch in prefetched:
            sums, answers = evaluation_step(weights, batch)
            # In float64: a sum over half a million puzzles in float32 would lose the last ones.
            sums = jax.tree.map(np.float64, fetch(sums))
            if puzzles.metadata.puzzle_kind == "maze":
                sums["shortest_path_accuracy"] = _count_shortest_paths(batch, answers)
            totals[name] = jax.tree.map(np.add, totals[name], sums) if name in totals else sums
    return {name: _report(sums) for name, sums in totals.items()}


def _count_shortest_paths(batch: Batch, answers: Int[Array, "batch seq_len"]) -> np.float64:
    """Count the answers that are some shortest path, the label or another."""
    questions, answers = fetch((batch.inputs, answers))
    side = math.isqrt(questions.shape[1])
    # Sequences that fill the batch up have no start.
    mazes = (questions == maze.START).any(axis=1)
    boards = [np.asarray(tokens)[mazes].reshape(-1, side, side) for tokens in (questions, answers)]
    return np.float64(maze.is_shortest_path(*boards).sum())


def _evaluate_in_pieces(config: Config, weights: Weights, batch: Batch) -> tuple[Sums, Int[Array, "batch seq_len"]]:
    """Evaluate in as many pieces as training takes, in less memory."""
    pieces = config.train.microbatches
    if pieces == 1:
        return _evaluate_batch(config, weights, batch)
    if len(batch.inputs) % pieces:
        raise InputError(
            f"batch size: found {len(batch.inputs)} per device, expected a multiple of {pieces} (train.microbatches)"
        )
    sums, answers = jax.lax.map(lambda piece: _evaluate_batch(config, weights, piece), cut(batch, pieces))
    return jax.tree.map(lambda of_pieces: of_pieces.sum(axis=0), sums), answers.reshape(batch.inputs.shape)


def _evaluate_batch(config: Config, weights: Weights, batch: Batch) -> tuple[Sums, Int[Array, "batch seq_len"]]:
    model = weights.model
    carry = Carry.empty(model, batch).refill(model, batch)
    rows = weights.puzzle_table[batch.puzzle_identifiers]
    never = jnp.full_like(carry.steps, config.halting.halt_max_steps)

    class Progress(NamedTuple):
        carry: Carry
        halting_steps: Int[Array, " batch"]
        halting_exact: Float[Array, " batch"]
        answers: Int[Array, "batch seq_len"]

    def step(progress: Progress, _):
        _, (carry, outputs, metrics) = supervision_step(model, rows, progress.carry, config, min_halt_steps=None)
        accuracy, exact, labelled = correctness(outputs.predictions, batch.labels)
        last = carry.steps == config.halting.halt_max_steps
        still_running = progress.halting_steps == never
        halts = still_running & (wants_to_halt(outputs, config.halting) | last)
        right = (exact & labelled).astype(jnp.float32)
        by_step = {"accuracy": jnp.sum(jnp.where(labelled, accuracy, 0.0)), "exact_accuracy": jnp.sum(right)}
        progress = Progress(
            carry,
            jnp.where(halts, carry.steps, progress.halting_steps),
            jnp.where(halts, right, progress.halting_exact),
            outputs.predictions,
        )
        return progress, (metrics, by_step)

    start = Progress(carry, never, jnp.zeros_like(never, jnp.float32), jnp.zeros_like(batch.inputs))
    end, (metrics, by_step) = jax.lax.scan(step, start, length=config.halting.halt_max_steps)
    sums = jax.tree.map(lambda after_each_step: after_each_step[-1], metrics)
    labelled = correctness(batch.labels, batch.labels).labelled
    sums |= {
        "halting_steps": jnp.sum(jnp.where(labelled, end.halting_steps, 0)).astype(jnp.float32),
        "halting_exact_accuracy": jnp.sum(end.halting_exact),
        "accuracy_by_step": by_step["accuracy"],
        "exact_accuracy_by_step": by_step["exact_accuracy"],
    }
    return sums, end.answers


def _report(totals: dict[str, np.ndarray | np.float64]) -> Report:
    sums = {name: float(total) for name, total in totals.items() if not name.endswith("by_step")}
    count = sums["count"] or float("nan")
    return Report(
        examples=int(sums["count"]),
        metrics=divide(sums),
        accuracy_by_step=np.divide(totals["accuracy_by_step"], count).tolist(),
        exact_accuracy_by_step=np.divide(totals["exact_accuracy_by_step"], count).tolist(),
    )
