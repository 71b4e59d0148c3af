"""Evaluation of the solver: accuracy against compute, in one `Report` for each set. Entry: `evaluate_solver`."""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Integer

from trm.configuration.schema import Config
from trm.evaluation.report import AccuracyByCompute, Predictions, Report, Scores, accuracy_of, make_report, score
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, place
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import HostBatch, read_examples
from trm.solving.options import SolverOptions
from trm.solving.selection import SelectionMethod, choose_answers
from trm.solving.solve import Candidates, solve_candidates
from trm.solving.views import Views

PUZZLES_PER_SLOT = 16
"""Puzzles per slot that the solver gets at a time: enough that few slots are idle while the last ones are solved, few
enough that the candidates of a large set need not be in memory at once."""


def evaluate_solver(
    weights: Weights,
    config: Config,
    puzzles: PuzzleSet,
    options: SolverOptions,
    slots: int,
    mesh: Mesh,
    views: Views | None = None,
    on_answers: Callable[[Predictions], None] | None = None,
) -> dict[str, Report]:
    """Solve every example of a puzzle set; `on_answers` receives the chosen answers.

    A report has the accuracy of the first 1, 2, 4 and so on candidates alone, except with `options.stop_at_first`,
    where the candidates depend on each other. Raises InputError as `solve_candidates` does.
    """
    kind = kind_of(puzzles.metadata)
    # Once, not for every batch: the puzzle embeddings may take gigabytes.
    weights = place(weights, mesh, REPLICATED)
    reports = {}
    for name, arrays in puzzles.sets.items():
        scores: dict[int, list[Scores]] = {}
        steps: dict[int, list[Integer[np.ndarray, " puzzles"]]] = {}
        for batch in _batches(puzzles, arrays, PUZZLES_PER_SLOT * slots):
            inputs, identifiers = batch.inputs, batch.puzzle_identifiers
            candidates, _ = solve_candidates(weights, config, mesh, inputs, identifiers, options, slots, views)
            counts = _counts(candidates, options)
            for count in counts:
                first = Candidates(*(field[:, :count] for field in candidates))
                predictions = _choose(batch, first, options.selection)
                scores.setdefault(count, []).append(score(predictions, batch.labels, kind))
                steps.setdefault(count, []).append(first.steps.sum(axis=1))
                if on_answers and count == counts[-1]:
                    on_answers(predictions)
        by_compute = [
            AccuracyByCompute(float(np.concatenate(steps[count]).mean()), count, accuracy_of(parts))
            for count, parts in scores.items()
        ]
        of_all = by_compute[-1]
        reports[name] = make_report(scores[of_all.candidates], arrays, by_compute, {"steps": of_all.steps})
    return reports


def _choose(batch: HostBatch, candidates: Candidates, method: SelectionMethod) -> Predictions:
    answers, chosen = choose_answers(method, *candidates)
    q_halt_logits = candidates.q_halt_logits[np.arange(len(chosen)), chosen]
    return Predictions(batch.puzzle_identifiers, batch.inputs, answers, q_halt_logits)


def _batches(puzzles: PuzzleSet, arrays: PuzzleArrays, size: int) -> Iterator[HostBatch]:
    bounds = np.asarray(arrays.puzzle_indices)
    for start in range(0, arrays.examples, size):
        examples = np.arange(start, min(start + size, arrays.examples))
        yield read_examples(puzzles, arrays, examples, np.searchsorted(bounds, examples, side="right") - 1)


def _counts(candidates: Candidates, options: SolverOptions) -> list[int]:
    """Return 1, 2, 4 and so on up to the number of candidates; that alone if they depend on each other."""
    most = candidates.steps.shape[1]
    return [most] if options.stop_at_first else [2**i for i in range((most - 1).bit_length())] + [most]
