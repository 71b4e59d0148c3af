"""Evaluation of the solver: what enters are weights, a puzzle set and a way to think, what leaves is one `Report` per
set, with accuracy against compute.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Integer

from trm.configuration.schema import Config
from trm.evaluation.report import Answered, AtCompute, Judged, Report, accuracy_of, judge, make_report
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, place
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import HostBatch, read_examples
from trm.solving import selection
from trm.solving.selection import Method
from trm.solving.solve import Candidates, Thinking, think
from trm.solving.views import Views

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
    kind = kind_of(puzzles.metadata)
    # Once, not for every part of the set: a table of puzzle embeddings may be gigabytes.
    weights = place(weights, mesh, REPLICATED)
    reports = {}
    for name, arrays in puzzles.sets.items():
        judged: dict[int, list[Judged]] = {}
        steps: dict[int, list[Integer[np.ndarray, " puzzles"]]] = {}
        for batch in _batches(puzzles, arrays, PUZZLES_PER_SLOT * slots):
            inputs, identifiers = batch.inputs, batch.puzzle_identifiers
            candidates, _ = think(weights, config, mesh, inputs, identifiers, thinking, slots, views)
            counts = _counts(candidates, thinking)
            for count in counts:
                first = Candidates(*(field[:, :count] for field in candidates))
                answered = _choose(batch, first, thinking.selection)
                judged.setdefault(count, []).append(judge(answered, batch.labels, kind))
                steps.setdefault(count, []).append(first.steps.sum(axis=1))
                if on_answers and count == counts[-1]:
                    on_answers(answered)
        by_compute = [
            AtCompute(float(np.concatenate(steps[count]).mean()), count, accuracy_of(parts))
            for count, parts in judged.items()
        ]
        of_all = by_compute[-1]
        reports[name] = make_report(judged[of_all.candidates], arrays, by_compute, {"steps": of_all.steps})
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
