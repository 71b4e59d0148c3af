"""Evaluation of ARC: votes over a puzzle set, pass@K, and a submission to Kaggle. Entry: `voter_for`, `pass_at`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trm.errors import InputError
from trm.evaluation.report import Predictions
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import read_shared_identifiers
from trm.puzzles.kinds.arc.tasks import TEST_PUZZLES, Task, join_tasks, read_test_puzzles
from trm.puzzles.kinds.arc.votes import Ranking, Votes, count_votes, merge, rank
from trm.puzzles.kinds.registry import kind_of
from trm.solving.reason import confidence

PASS_KS = (1, 2, 5, 10, 100, 1000)
ATTEMPTS = 2
"""Answers in a submission to each test input."""


class Voter:
    """Counts votes of one or several evaluations: `see` counts those of a batch, `rankings` ranks the candidates."""

    def __init__(self, names: Sequence[str], tasks: Sequence[Task], blank_identifier_id: int):
        self._names, self._tasks = names, tasks
        self._blank_identifier_id = blank_identifier_id
        self._parts: list[Votes] = []

    def see(self, batch: Predictions) -> None:
        """Count the votes of a batch."""
        identifiers, inputs, predictions, logits = (np.asarray(field) for field in batch)
        votes = count_votes(
            identifiers, inputs, predictions, confidence(logits), self._names, self._blank_identifier_id
        )
        self._parts.append(votes)

    def rankings(self, others: Sequence["Voter"] = ()) -> dict[str, list[Ranking]]:
        """Rank the candidates for each test input of each task by all votes so far, with those of other voters.

        Raises InputError when the voters have different tasks.
        """
        for other in others:
            if {task.name for task in other._tasks} != {task.name for task in self._tasks}:
                raise InputError("found puzzle sets of different tasks, expected the same, to count votes together")
        return rank(merge([part for voter in (self, *others) for part in voter._parts]), self._tasks)


def voter_for(
    puzzles: PuzzleSet, directories: Sequence[str | Path], names: Sequence[str] | None = None
) -> Voter | None:
    """Return a voter for ARC puzzle sets that hold their tasks; None for other sets.

    `names` are those of the identifiers, by default those of the directories. Raises InputError, naming the file, when
    the names or the tasks of a puzzle set are missing or malformed.
    """
    if not knows_tasks(puzzles, directories):
        return None
    names = read_shared_identifiers(directories) if names is None else names
    expected = puzzles.metadata.num_puzzle_identifiers
    if len(names) < expected:
        raise InputError(f"{puzzles.name}: identifiers.json: found {len(names)} names, expected {expected}")
    tasks = join_tasks(task for directory in directories for task in read_test_puzzles(directory))
    return Voter(names, tasks, puzzles.metadata.blank_identifier_id)


def knows_tasks(puzzles: PuzzleSet, directories: Sequence[str | Path]) -> bool:
    """Return whether puzzle sets are of ARC and hold their tasks."""
    return kind_of(puzzles.metadata).solved_from == "tasks" and all(
        (Path(directory) / TEST_PUZZLES).is_file() for directory in directories
    )


# Results


def pass_at(rankings: Mapping[str, Sequence[Ranking]], ks: Sequence[int] = PASS_KS) -> dict[str, float]:
    """Return pass@K for each K: the share of a task's test inputs whose truth is among the first K, mean over tasks.

    Test inputs without a known solution do not count, and tasks without any; NaN where none is left.
    """
    known = known_tests(rankings).values()

    def share(tests: Sequence[Ranking], k: int) -> float:
        return sum(test.truth_rank is not None and test.truth_rank <= k for test in tests) / len(tests)

    return {f"pass@{k}": math.fsum(share(tests, k) for tests in known) / len(known) if known else math.nan for k in ks}


def known_tests(rankings: Mapping[str, Sequence[Ranking]]) -> dict[str, list[Ranking]]:
    """Return the test inputs with a known solution, by task; tasks without any are left out."""
    known = {name: [test for test in tests if test.known] for name, tests in rankings.items()}
    return {name: tests for name, tests in known.items() if tests}


def submission(
    rankings: Mapping[str, Sequence[Ranking]], attempts: int = ATTEMPTS
) -> dict[str, list[dict[str, list[list[int]]]]]:
    """Return Kaggle's JSON: for each task and test input `attempt_1`, `attempt_2` and so on, the best candidates.

    With too few candidates the best one is repeated. A test input without candidates gets the grid [[0]], and so does
    an empty grid: Kaggle accepts no empty list.
    """

    def attempt(ranking: Ranking) -> dict[str, list[list[int]]]:
        grids = [candidate.grid.tolist() or [[0]] for candidate in ranking.candidates[:attempts]] or [[[0]]]
        grids += grids[:1] * (attempts - len(grids))
        return {f"attempt_{number}": grid for number, grid in enumerate(grids, start=1)}

    return {name: [attempt(ranking) for ranking in tests] for name, tests in rankings.items()}


def describe_rankings(rankings: Mapping[str, Sequence[Ranking]], most: int = ATTEMPTS) -> dict[str, list[dict]]:
    """Return for each task's test inputs the rank of the truth and the votes of the best candidates, for a report."""
    return {
        name: [
            {
                "truth_rank": test.truth_rank,
                "candidates": len(test.candidates),
                "best": [{"votes": best.votes, "confidence": best.confidence} for best in test.candidates[:most]],
            }
            for test in tests
        ]
        for name, tests in rankings.items()
    }
