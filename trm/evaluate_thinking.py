"""Evaluation of the solver: what enters are weights, a puzzle set and a way to think, what leaves is one `Report` per
set, with accuracy against compute.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Integer

from trm import selection
from trm.checkpoint import Weights
from trm.config import Config
from trm.data.loader import HostBatch, read_examples
from trm.data.puzzles import PuzzleArrays, PuzzleSet
from trm.report import Accuracy, Answered, AtCompute, Judged, Report, judge, make_report
from trm.selection import Method
from trm.solver import Candidates, Thinking, think
from trm.views import Views

PUZZLES_PER_SLOT = 16
"""Puzzles that the solver gets at a time, for each slot: so many that few slots idle while the last ones are solved, so
few that the candidates of a large set need not be held at once."""


def evaluate_thinking(
    weights: Weights,
    config: Config,
    puzzles: PuzzleSet,
    thinking: Thinking,
    slots: int,
    mesh: Mesh,
    views: Views | None = None,
    on_answers: Callable[[Answered], None] | None = None,
) -> dict[str, Report]:
    """Solve every example of a puzzle set; `on_answers` gets to see the answers that were chosen.

    A report says what the first candidates of each puzzle would have achieved by themselves, for 1, 2, 4 and so on of
    them, but for `thinking.first`, where they depend on each other. Raises InputError as `think` does.
    """
    kind = puzzles.metadata.puzzle_kind
    reports = {}
    for name, arrays in puzzles.sets.items():
        judged: dict[int, list[Judged]] = {}
        steps: dict[int, list[Integer[np.ndarray, " puzzles"]]] = {}
        for batch in _batches(puzzles, arrays, PUZZLES_PER_SLOT * slots):
            inputs, identifiers = batch.inputs, batch.puzzle_identifiers
            candidates, _ = think(weights, config, mesh, inputs, identifiers, thinking, slots, views)
            for count in _counts(candidates, thinking):
                first = Candidates(*(field[:, :count] for field in candidates))
                answered = _choose(batch, first, thinking.selection)
                judged.setdefault(count, []).append(judge(answered, batch.labels, kind))
                steps.setdefault(count, []).append(first.steps.sum(axis=1))
            if on_answers:
                on_answers(_choose(batch, candidates, thinking.selection))
        by_compute = [_at_compute(np.concatenate(steps[count]), count, judged[count]) for count in judged]
        # The last counts all candidates.
        reports[name] = make_report(
            judged[by_compute[-1].candidates], arrays, kind, by_compute, {"steps": by_compute[-1].steps}
        )
    return reports


def _choose(batch: HostBatch, candidates: Candidates, method: Method) -> Answered:
    answers, chosen = selection.select(method, *candidates)
    q_halt_logits = candidates.q_halt_logits[np.arange(len(chosen)), chosen]
    return Answered(batch.puzzle_identifiers, batch.inputs, answers, q_halt_logits)


def _batches(puzzles: PuzzleSet, arrays: PuzzleArrays, size: int) -> Iterator[HostBatch]:
    bounds = np.asarray(arrays.puzzle_indices)
    for start in range(0, arrays.examples, size):
        examples = np.arange(start, min(start + size, arrays.examples))
        yield read_examples(puzzles, arrays, examples, np.searchsorted(bounds, examples, side="right") - 1)


def _counts(candidates: Candidates, thinking: Thinking) -> list[int]:
    """Return 1, 2, 4 and so on, and all candidates; these alone if they depend on each other."""
    most = candidates.steps.shape[1]
    return [most] if thinking.first else [2**i for i in range((most - 1).bit_length())] + [most]


def _at_compute(steps: Integer[np.ndarray, " puzzles"], count: int, judged: list[Judged]) -> AtCompute:
    labelled, token, exact = (np.concatenate(column) for column in list(zip(*judged, strict=True))[:3])
    puzzles = int(labelled.sum())
    mean_token, mean_exact = (float(column[labelled].sum() / (puzzles or np.nan)) for column in (token, exact))
    return AtCompute(float(steps.mean()), count, Accuracy.of(puzzles, mean_token, mean_exact))
