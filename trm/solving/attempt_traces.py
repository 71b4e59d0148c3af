"""Traces of attempts at puzzles, judged by the truth or the rules; each attempt has another view or a random start.

Entry: `trace_puzzles`; `stream_attempts` for each step as it is made.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from trm.errors import InputError
from trm.model.recursions import Latents
from trm.parallel.environment import settled
from trm.puzzles.kinds.kind import PuzzleKind
from trm.solving.attempts import START_NOISE
from trm.solving.slots import begin_latents, latent_names
from trm.solving.trace import Trace, trace, trace_by_step
from trm.solving.trained_model import TrainedModel
from trm.solving.views import Views, make_views, most_views


@dataclasses.dataclass(frozen=True)
class AttemptTrace:
    """The trace of one attempt at a puzzle, its view undone."""

    predictions: Integer[np.ndarray, "steps cycles seq_len"]
    confidence: Float[np.ndarray, "steps cycles seq_len"]
    """The network's probability of each answered token."""
    q_halt: Float[np.ndarray, "steps cycles"]
    """sigmoid(q_halt): the network's probability that every token is right."""
    halting_step: int | None
    """The first step, from 1, after which the halting head would stop; None: it would not stop."""
    wrong: Bool[np.ndarray, "steps cycles seq_len"]
    """Cells that differ from the truth or, where the truth is not known, break the rules."""
    solved: Bool[np.ndarray, "steps cycles"] | None
    """Whether the answer is the truth or obeys the rules; None where neither truth nor rules are known."""
    way: str = ""
    """How the attempt differs from the first one, in words."""

    @property
    def solved_after(self) -> int | None:
        """The first step, from 1, whose answer is solved; None where no answer is, or where it is not known."""
        after = self.solved[:, -1] if self.solved is not None else np.zeros(0, bool)
        return int(after.argmax()) + 1 if after.any() else None


@dataclasses.dataclass(frozen=True)
class PuzzleTrace:
    """The attempts at one puzzle."""

    question: Integer[np.ndarray, " seq_len"]
    truth: Integer[np.ndarray, " seq_len"] | None
    attempts: tuple[AttemptTrace, ...]

    @property
    def winner(self) -> int:
        """Index of the attempt that obeys the rules first; where none does, of the one most confident when it halts.

        The truth is not used: a solver does not know it.
        """
        ranks = [
            (
                (attempt.solved_after or np.inf) if self.truth is None else np.inf,
                -float(attempt.q_halt[(attempt.halting_step or 0) - 1, -1]),
            )
            for attempt in self.attempts
        ]
        return ranks.index(min(ranks))


@settled()
def trace_puzzles(
    model: TrainedModel,
    questions: Integer[np.ndarray, "puzzles seq_len"],
    views: int = 1,
    steps: int | None = None,
    seed: int = 0,
    truths: Sequence[Integer[np.ndarray, " seq_len"] | None] | None = None,
    starts: int = 0,
) -> list[PuzzleTrace]:
    """Trace attempts at puzzles: one for each view, the first of which is the puzzle as it is, then random starts.

    A random start sees the puzzle as it is and begins from the initial latents with noise, as `trm solve` does when
    there are no more views. Raises InputError for more views than there are, and for tokens out of range.
    """
    symmetries = make_views(model.metadata, views, seed)
    puzzles = len(questions)
    ways = ["as it is", *["symmetry"] * (views - 1), *["random start"] * starts]
    which = np.tile([*range(views), *[0] * starts], puzzles)
    inputs = np.repeat(questions, len(ways), axis=0)
    noise = np.where([way == "random start" for way in ways], START_NOISE, 0.0)
    latents = _begin(model, inputs, np.tile(noise, puzzles), seed)
    seen = symmetries.apply_each(inputs, which).astype(np.int32)
    found = trace(model.weights, model.config, seen, np.zeros(len(seen), np.int32), steps, latents)
    found = _undo(found, symmetries, which)

    def judge(i: int) -> PuzzleTrace:
        question, truth = questions[i], truths[i] if truths else None
        attempts = (judge_attempt(model.kind, question, truth, found, i * len(ways) + j) for j in range(len(ways)))
        return PuzzleTrace(question, truth, tuple(replace(a, way=way) for a, way in zip(attempts, ways, strict=True)))

    return [judge(i) for i in range(puzzles)]


def stream_attempts(
    model: TrainedModel,
    question: Integer[np.ndarray, " seq_len"],
    views: Sequence[int],
    steps: int,
    noise: float = 0.0,
    seed: int = 0,
    given: Integer[np.ndarray, "views seq_len"] | None = None,
) -> Iterator[list[AttemptTrace]]:
    """Yield attempts at one puzzle after each supervision step: traces of that step alone.

    An attempt sees the puzzle through the view of its number in `views`, and begins from the initial latents with noise
    of standard deviation `noise`. `given` is the puzzle as each attempt sees it, with its guesses. Raises InputError
    for tokens out of range, and for numbers of views that there are not.
    """
    symmetries = most_views(model.metadata, max(views) + 1)
    if (most := len(symmetries.cells)) <= max(views):
        raise InputError(f"views: found {max(views)}, expected 0 to {most - 1}")
    which = np.array(views)
    inputs = np.repeat(question[None], len(views), axis=0) if given is None else given
    latents = _begin(model, inputs, np.full(len(views), noise), seed)
    seen = symmetries.apply_each(inputs, which).astype(np.int32)
    identifiers = np.zeros(len(seen), np.int32)
    for found in trace_by_step(model.weights, model.config, seen, identifiers, steps, latents):
        undone = _undo(found, symmetries, which)
        yield [judge_attempt(model.kind, question, None, undone, i) for i in range(len(views))]


def _undo(found: Trace, symmetries: Views, which: Integer[np.ndarray, " batch"]) -> Trace:
    """Return a trace with the view of each sequence undone."""
    places = np.argsort(symmetries.cells, axis=1)[which]
    predictions = np.stack([[symmetries.undo_each(cycle, which) for cycle in cycles] for cycles in found.predictions])
    confidence = np.take_along_axis(found.confidence, places[None, None], axis=-1)
    return found._replace(predictions=predictions, confidence=confidence)


def _begin(
    model: TrainedModel, inputs: Integer[np.ndarray, "batch seq_len"], noise: Float[np.ndarray, " batch"], seed: int
) -> Latents:
    """Return the latents that each attempt begins from, with noise of its standard deviation."""
    initial = model.weights.model.initial_latents(inputs.shape)
    if not noise.any():
        return initial
    keys = jax.random.split(jax.random.key(seed), len(inputs))
    return begin_latents(initial, keys, jnp.asarray(noise, jnp.float32), tuple(latent_names(initial)))


def judge_attempt(
    kind: PuzzleKind,
    question: Integer[np.ndarray, " seq_len"],
    truth: Integer[np.ndarray, " seq_len"] | None,
    found: Trace,
    index: int,
) -> AttemptTrace:
    """Return one attempt of a batch, judged by the truth or, where it is not known, by the rules."""
    predictions = found.predictions[:, :, index]
    flat = predictions.reshape(-1, predictions.shape[-1])
    solved = None
    if truth is not None:
        wrong = flat != truth
        solved = ~wrong.any(axis=1)
    else:
        questions = np.broadcast_to(question, flat.shape)
        wrong = kind.wrong_cells(questions, flat)
        if kind.solved_from == "text":
            solved = kind.solved(questions, flat)
    halts = found.halts[:, index]
    return AttemptTrace(
        predictions,
        found.confidence[:, :, index],
        found.q_halt[:, :, index],
        int(halts.argmax()) + 1 if halts.any() else None,
        wrong.reshape(predictions.shape),
        None if solved is None else solved.reshape(predictions.shape[:2]),
    )
