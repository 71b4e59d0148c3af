"""Evaluation of the solver: accuracy against compute, in one `Report` for each set.

Entry: `evaluate_solver` for fixed candidates, `evaluate_attempts` for attempts until the rules hold.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Integer

from trm.configuration.schema import Config
from trm.evaluation.report import AccuracyByCompute, Predictions, Report, Scores, accuracy_of, make_report, score
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, place
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import HostBatch, read_examples
from trm.solving.attempts import AttemptSolver, round_limits
from trm.solving.options import SolverOptions
from trm.solving.selection import SelectionMethod, choose_answers
from trm.solving.solve import Candidates, judge_candidates, solve_candidates
from trm.solving.views import Views, most_views

PUZZLES_PER_SLOT = 16
"""Puzzles per slot in one call of the solver: enough that few slots are idle while the last puzzles are solved, few
enough that the candidates of a large set are not all in memory."""


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

    A report has the accuracy of the first 1, 2, 4 and so on candidates, except with `options.stop_at_first`, where
    candidates depend on each other. Where the rules choose the answer, the report also has the accuracy of the most
    confident of the same candidates. Raises InputError as `solve_candidates` does.
    """
    kind = kind_of(puzzles.metadata)
    # Placed once, not for every batch: the puzzle table may take gigabytes.
    weights = place(weights, mesh, REPLICATED)
    reports = {}
    for name, arrays in puzzles.sets.items():
        scores: dict[int, list[Scores]] = {}
        without_rules: dict[int, list[Scores]] = {}
        steps: dict[int, list[Integer[np.ndarray, " puzzles"]]] = {}
        for batch in _batches(puzzles, arrays, PUZZLES_PER_SLOT * slots):
            inputs, identifiers = batch.inputs, batch.puzzle_identifiers
            candidates, _ = solve_candidates(weights, config, mesh, inputs, identifiers, options, slots, views)
            counts = _counts(candidates, options)
            judge = options.selection == "rules"
            obeys = judge_candidates(kind.solved, inputs, candidates.answers) if judge else None
            for count in counts:
                first = Candidates(*(field[:, :count] for field in candidates))
                predictions = _choose(batch, first, options.selection, None if obeys is None else obeys[:, :count])
                scores.setdefault(count, []).append(score(predictions, batch.labels, kind))
                steps.setdefault(count, []).append(first.steps.sum(axis=1))
                if judge:
                    confident = _choose(batch, first, "confident")
                    without_rules.setdefault(count, []).append(score(confident, batch.labels, kind))
                if on_answers and count == counts[-1]:
                    on_answers(predictions)
        by_compute = [
            AccuracyByCompute(
                float(np.concatenate(steps[count]).mean()),
                count,
                accuracy_of(parts),
                accuracy_of(without_rules[count]) if count in without_rules else None,
            )
            for count, parts in scores.items()
        ]
        of_all = by_compute[-1]
        reports[name] = make_report(scores[of_all.candidates], arrays, by_compute, {"steps": of_all.steps})
    return reports


def evaluate_attempts(
    weights: Weights,
    config: Config,
    puzzles: PuzzleSet,
    options: SolverOptions,
    slots: int,
    mesh: Mesh,
    attempts: int,
    on_answers: Callable[[Predictions], None] | None = None,
) -> dict[str, Report]:
    """Attempt every example of a puzzle set until its answer obeys the rules; `on_answers` receives the answers.

    A report has the accuracy after every round of attempts. Its steps are those really made: solved puzzles are not
    attempted again. Raises InputError as `AttemptSolver` does.
    """
    kind = kind_of(puzzles.metadata)
    views = most_views(puzzles.metadata, attempts, options.seed)
    solver = AttemptSolver(weights, config, mesh, options, slots, views, kind, attempts)
    limits = round_limits(attempts)
    reports = {}
    for name, arrays in puzzles.sets.items():
        scores: list[list[Scores]] = [[] for _ in limits]
        steps: list[list[Integer[np.ndarray, " puzzles"]]] = [[] for _ in limits]
        for batch in _batches(puzzles, arrays, PUZZLES_PER_SLOT * slots):
            inputs, identifiers = batch.inputs, batch.puzzle_identifiers
            rounds = solver.rounds(inputs, identifiers)
            predictions = found = None
            for number in range(len(limits)):
                # No round follows when every puzzle is solved.
                if after := next(rounds, None):
                    found = after.found
                    predictions = Predictions(identifiers, inputs, found.answers.copy(), found.q_halt_logits.copy())
                assert predictions
                assert found
                scores[number].append(score(predictions, batch.labels, kind))
                steps[number].append(found.steps.copy())
            if on_answers and predictions:
                on_answers(predictions)
        by_compute = [
            AccuracyByCompute(float(np.concatenate(made).mean()), limit, accuracy_of(parts))
            for limit, made, parts in zip(limits, steps, scores, strict=True)
        ]
        reports[name] = make_report(scores[-1], arrays, by_compute, {"steps": by_compute[-1].steps})
    return reports


def _choose(
    batch: HostBatch,
    candidates: Candidates,
    method: SelectionMethod,
    obeys: Bool[np.ndarray, "puzzles candidates"] | None = None,
) -> Predictions:
    answers, chosen = choose_answers(method, *candidates, obeys)
    q_halt_logits = candidates.q_halt_logits[np.arange(len(chosen)), chosen]
    return Predictions(batch.puzzle_identifiers, batch.inputs, answers, q_halt_logits)


def _batches(puzzles: PuzzleSet, arrays: PuzzleArrays, size: int) -> Iterator[HostBatch]:
    bounds = np.asarray(arrays.puzzle_indices)
    for start in range(0, arrays.examples, size):
        examples = np.arange(start, min(start + size, arrays.examples))
        yield read_examples(puzzles, arrays, examples, np.searchsorted(bounds, examples, side="right") - 1)


def _counts(candidates: Candidates, options: SolverOptions) -> list[int]:
    """Return 1, 2, 4 and so on up to the number of candidates; only that number if candidates depend on each other."""
    most = candidates.steps.shape[1]
    return [most] if options.stop_at_first else [2**i for i in range((most - 1).bit_length())] + [most]
