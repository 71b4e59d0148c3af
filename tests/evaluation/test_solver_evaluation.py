"""Evaluation of the solver: the same answers as the solver itself, and those of fewer candidates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

from trm.evaluation import solver as module
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Predictions, Report
from trm.evaluation.solver import evaluate_attempts, evaluate_solver
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.registry import KINDS
from trm.solving.options import SolverOptions
from trm.solving.solve import solve, solve_candidates
from trm.training.state import make_state, trained_weights

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def weights(splits: dict[str, PuzzleSet]) -> Weights:
    """Return weights whose halting head stops some puzzles and not others."""
    weights = trained_weights(make_state(CONFIG, splits["test"].metadata, make_mesh(1)))
    head = jax.random.normal(jax.random.key(1), (16, 2))
    return eqx.tree_at(lambda w: (w.model.q_head.weight, w.model.q_head.bias), weights, (head, jnp.zeros(2)))


def report_on(weights: Weights, puzzles: PuzzleSet, slots: int = 4, devices: int = 1, **options: Any) -> Report:
    seen = options.pop("on_answers", None)
    mesh = make_mesh(devices)
    return evaluate_solver(weights, CONFIG, puzzles, SolverOptions(**options), slots, mesh, None, seen)["all"]


def test_agrees_with_the_evaluation_of_all_steps(weights: Weights, splits: dict[str, PuzzleSet]):
    mesh = make_mesh(1)
    expected = evaluate_every_step(make_evaluation_step(CONFIG, mesh), weights, splits["test"], 10, mesh)["all"]
    found = report_on(weights, splits["test"], adaptive=False)
    for name in ("accuracy", "exact_accuracy", "q_halt_accuracy", "calibration_error", "steps"):
        assert found.metrics[name] == pytest.approx(expected.metrics[name], abs=1e-5)
    assert found.by_compute[-1].accuracy.token == pytest.approx(expected.by_compute[-1].accuracy.token)
    difficulties = [(row.lowest, row.accuracy.puzzles) for row in expected.by_difficulty]
    assert [(row.lowest, row.accuracy.puzzles) for row in found.by_difficulty] == difficulties
    assert sum(count for _, count in difficulties) == 10


@pytest.mark.slow
def test_candidates_are_counted_one_by_one(
    weights: Weights, splits: dict[str, PuzzleSet], monkeypatch: pytest.MonkeyPatch
):
    puzzles = splits["test"]
    arrays = puzzles.sets["all"]
    seen: list[Predictions] = []
    options: dict[str, Any] = {"rollouts": 3, "noise": 0.5, "selection": "mode"}
    found = report_on(weights, puzzles, on_answers=seen.append, **options)
    assert [row.candidates for row in found.by_compute] == [1, 2, 3]
    inputs, identifiers = arrays.inputs.astype(np.int32), np.zeros(10, np.int32)
    solutions = solve(weights, CONFIG, make_mesh(1), inputs, identifiers, SolverOptions(**options), 4)
    np.testing.assert_array_equal(seen[0].predictions, solutions.answers)
    right = solutions.answers == arrays.labels
    assert found.metrics["accuracy"] == pytest.approx(right.mean())
    assert [row.steps for row in found.by_compute] == pytest.approx(
        [solutions.steps[:, :count].sum(axis=1).mean() for count in (1, 2, 3)]
    )
    assert found.metrics["steps"] == found.by_compute[-1].steps
    one = report_on(weights, puzzles, noise=0.5)
    assert one.by_compute[0] == found.by_compute[0]

    # However many puzzles the solver gets at a time.
    monkeypatch.setattr(module, "PUZZLES_PER_SLOT", 1)
    parts: list[Predictions] = []
    assert report_on(weights, puzzles, on_answers=parts.append, **options).metrics["accuracy"] == pytest.approx(
        found.metrics["accuracy"]
    )
    assert [len(part.predictions) for part in parts] == [4, 4, 2]

    # The first that halts leaves the others unfinished: what fewer of them would give is not known.
    first = report_on(weights, puzzles, rollouts=3, noise=0.5, selection="first", stop_at_first=True)
    assert [row.candidates for row in first.by_compute] == [3]


@pytest.mark.skipif(len(jax.devices()) < 2, reason="needs two devices")
def test_devices_agree(weights: Weights, splits: dict[str, PuzzleSet]):
    one = report_on(weights, splits["test"])
    two = report_on(weights, splits["test"], devices=2)
    assert two.metrics == pytest.approx(one.metrics, rel=1e-4)


def lucky(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Judge as rules that an untrained network obeys now and then."""
    return (answers * np.arange(1, answers.shape[1] + 1)).sum(axis=1) % 5 == 3


def test_the_rules_as_judge_and_without_them(
    weights: Weights, splits: dict[str, PuzzleSet], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(type(KINDS["sudoku"]), "solved", lambda self, questions, answers: lucky(questions, answers))
    puzzles = splits["test"]
    arrays = puzzles.sets["all"]
    options: dict[str, Any] = {"rollouts": 4, "noise": 0.5, "adaptive": False}
    found = report_on(weights, puzzles, selection="rules", **options)
    confident = report_on(weights, puzzles, selection="confident", **options)
    assert [row.without_rules for row in found.by_compute] == [row.accuracy for row in confident.by_compute]
    assert all(row.without_rules is None for row in confident.by_compute)
    inputs = arrays.inputs.astype(np.int32)
    candidates, _ = solve_candidates(
        weights, CONFIG, make_mesh(1), inputs, np.zeros(10, np.int32), SolverOptions(**options), 4
    )
    for row in found.by_compute:
        chosen = []
        for question, answers, q in zip(inputs, candidates.answers, candidates.q_halt_logits, strict=True):
            answers, q = answers[: row.candidates], q[: row.candidates]
            obeys = lucky(np.tile(question, (len(answers), 1)), answers)
            chosen.append(answers[obeys.argmax() if obeys.any() else q.argmax()])
        assert row.accuracy.token == pytest.approx((np.array(chosen) == arrays.labels).mean())


def test_attempts_round_by_round(weights: Weights, splits: dict[str, PuzzleSet], monkeypatch: pytest.MonkeyPatch):
    """The report of each round is that of a solver that stops there; batches with nothing left to do count in all."""
    monkeypatch.setattr(type(KINDS["sudoku"]), "solved", lambda self, questions, answers: lucky(questions, answers))
    monkeypatch.setattr(module, "PUZZLES_PER_SLOT", 1)
    puzzles, mesh = splits["test"], make_mesh(1)
    seen: list[Predictions] = []

    def report(attempts: int, **more: Any) -> Report:
        reports = evaluate_attempts(weights, CONFIG, puzzles, SolverOptions(), 4, mesh, attempts, **more)
        return reports["all"]

    found = report(20, on_answers=seen.append)
    assert [row.candidates for row in found.by_compute] == [1, 8, 20]
    for row in found.by_compute:
        alone = report(row.candidates)
        assert alone.by_compute[-1] == row
        assert alone.metrics["steps"] == row.steps
    answers = np.concatenate([batch.predictions for batch in seen])
    arrays = puzzles.sets["all"]
    assert found.metrics["accuracy"] == pytest.approx((answers == arrays.labels).mean())
    assert found.by_compute[0].steps < found.by_compute[1].steps
