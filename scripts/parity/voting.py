"""Votes on ARC, exactly: recorded predictions are voted on, and metrics and submissions compared."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trm.evaluation.arc import pass_at, submission
from trm.evaluation.report import Predictions
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.json_files import read_json
from trm.puzzles.kinds.arc.tasks import read_test_puzzles
from trm.puzzles.kinds.arc.votes import Votes, count_votes, merge, rank
from trm.puzzles.reading import read_puzzle_set
from trm.solving.reason import confidence

from .case import Case, Comparison, Tolerance

METRICS = Tolerance(1e-12)
MISALIGNED, ALIGNED = "blank_in_middle", "blank_in_middle_aligned"
"""The original drops blank sequences without their confidences; with its name, what it finds when they are dropped."""


def check_voting(case: Case) -> Iterator[Comparison]:
    """Check every recorded evaluation."""
    folder = case.folder.resolve().parent / case.values["dataset"]
    names, tasks = read_identifiers(folder), read_test_puzzles(folder)
    blank = read_puzzle_set(folder, "test").metadata.blank_identifier_id
    recorded = {result["name"]: result for result in case.values["results"]}
    for name, result in recorded.items():
        comparison = Comparison(name)
        evaluations = _vote(case, result, names, blank)
        expected = recorded[ALIGNED if name == MISALIGNED else name]["evaluations"]
        comparison.equal("evaluations", len(evaluations), len(expected))
        for i, (votes, evaluation) in enumerate(zip(evaluations, expected, strict=False)):
            rankings = rank(votes, tasks)
            found = {f"ARC/{key}": value for key, value in pass_at(rankings, result["pass_Ks"]).items()}
            comparison.all_close(found, evaluation["metrics"], {"": METRICS})
            # The original leaves out what it has no prediction for.
            attempts = {
                task: [grids for grids, test in zip(places, rankings[task], strict=True) if test.candidates]
                for task, places in submission(rankings, result["submission_K"]).items()
            }
            file = evaluation["submission_file"]
            # It submits an empty list for a grid without cells.
            theirs = {
                task: [{name: grid or [[0]] for name, grid in places.items()} for places in tests]
                for task, tests in read_json(case.folder / file).items()
            }
            comparison.equal(f"evaluation {i}: {file}", attempts, theirs)
        yield comparison


def _vote(case: Case, result: Mapping[str, Any], names: list[str], blank: int) -> list[Votes]:
    """Return the votes that count in each evaluation of a result."""
    batches = [_predictions(case, f"batch{i}") for i in range(case.values["num_batches"])]
    if result["name"] in (MISALIGNED, ALIGNED):
        batches = [_predictions(case, "blank_middle")]
    count, ranks = len(result["evaluations"]), result["world_size"]
    bounds = [len(batches) * i // count for i in range(count + 1)]
    evaluations = []
    for i, end in enumerate(bounds[1:]):
        start = 0 if result["aggregated_voting"] else bounds[i]
        of_ranks = [[_slice(batch, r, ranks) for batch in batches[start:end]] for r in range(ranks)]
        evaluations.append(
            merge(
                merge(count_votes(*b[:3], confidence(b.q_halt_logits), names, blank) for b in part) for part in of_ranks
            )
        )
    return evaluations


def _predictions(case: Case, prefix: str) -> Predictions:
    tensors = case.under(prefix)
    return Predictions(tensors["puzzle_identifiers"], tensors["inputs"], tensors["preds"], tensors["q_halt_logits"])


def _slice(batch: Predictions, process: int, ranks: int) -> Predictions:
    return Predictions(*(np.split(field, ranks)[process] for field in batch))
