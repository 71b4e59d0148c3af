"""Traces: the steps are those of `reason`, the H cycles lead to the step, and attempts are judged by the rules."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import in_float32, tiny_config

import trm
from trm.configuration.schema import Config
from trm.model.reasoner import Reasoner
from trm.model.recursions import RECURSIONS, unused_sizes
from trm.puzzles.kinds.registry import KINDS
from trm.solving.attempt_traces import AttemptTrace, PuzzleTrace, trace_puzzles
from trm.solving.trace import trace
from trm.solving.trained_model import TrainedModel
from trm.solving.views import make_views

PUZZLES = ["3654.24...5..32.4..4..232....4.....5", "36.4.24...5..32.4..4..232....4......"]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return in_float32(trm.load("sudoku-6x6"))


def test_steps_are_those_of_reason(model: TrainedModel):
    questions = np.stack([model.parse(puzzle) for puzzle in PUZZLES]).astype(np.int32)
    found = trace(model.weights, model.config, questions, np.zeros(2, np.int32), steps=5)
    reasoning = model.reason(questions, steps=5)
    cycles = model.config.model.H_cycles
    assert cycles > 1
    assert found.predictions.shape == (5, cycles, 2, 36)
    np.testing.assert_array_equal(found.predictions[:, -1], reasoning.outputs.predictions)
    np.testing.assert_allclose(found.q_halt[:, -1], jax.nn.sigmoid(reasoning.outputs.q_halt_logits), rtol=1e-5)
    np.testing.assert_array_equal(found.halts, reasoning.outputs.q_halt_logits > 0)
    # The network thinks: cycles of the first step differ from each other.
    assert (found.predictions[0, 0] != found.predictions[0, -1]).any()
    assert (found.confidence > 1 / 8).all()
    assert (found.confidence <= 1).all()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "trm" else [pytest.mark.slow]) for name in RECURSIONS.names()]
)
def test_the_last_cycle_is_the_step(name: str):
    sizes = {key: value for key, value in unused_sizes(name).items()}
    sizes |= {"H_layers": 1} if "H_layers" in RECURSIONS[name].settings else {}
    config: Config = tiny_config(model={"recursion": name, **sizes})
    model = Reasoner(config.model, vocab_size=6, seq_len=16, key=jax.random.key(0))
    inputs = jax.random.randint(jax.random.key(1), (3, 16), 0, 6)
    x = model.embed(inputs, jnp.ones((3, 16)))
    z = model.initial_latents(inputs.shape)
    every = eqx.filter_jit(lambda: model.recursion.every_cycle(x, z))()
    step = eqx.filter_jit(lambda: model.recursion(x, z))()
    for cycles, last in zip(jax.tree.leaves(every), jax.tree.leaves(step), strict=True):
        assert cycles.shape == (config.model.H_cycles or 1, *last.shape)
        np.testing.assert_allclose(cycles[-1], last, rtol=1e-5, atol=1e-5)


def test_the_first_cycle_is_a_step_of_one_cycle():
    """By the same weights in a model of one H cycle."""
    config = tiny_config()
    one = dataclasses.replace(config.model, H_cycles=1)
    models = [Reasoner(each, vocab_size=6, seq_len=16, key=jax.random.key(0)) for each in (config.model, one)]
    inputs = jax.random.randint(jax.random.key(1), (3, 16), 0, 6)
    x, z = models[0].embed(inputs, jnp.ones((3, 16))), models[0].initial_latents(inputs.shape)
    every, step = models[0].recursion.every_cycle(x, z), models[1].recursion(x, z)
    for cycles, first in zip(jax.tree.leaves(every), jax.tree.leaves(step), strict=True):
        np.testing.assert_allclose(cycles[0], first, rtol=1e-5, atol=1e-5)
        assert not np.allclose(cycles[0], cycles[1], atol=1e-3)


def test_attempts_are_views_undone(model: TrainedModel):
    assert model.config.loss.type == "stablemax_cross_entropy"
    questions = np.stack([model.parse(puzzle) for puzzle in PUZZLES]).astype(np.int32)
    views = make_views(model.metadata, 3, seed=1)
    found = trace_puzzles(model, questions, views=3, steps=4, seed=1)
    assert [len(puzzle.attempts) for puzzle in found] == [3, 3]
    for puzzle, question in zip(found, questions, strict=True):
        for view, attempt in enumerate(puzzle.attempts):
            seen = views.tokens[view][question[views.cells[view]]].astype(np.int32)
            outputs = model.reason(seen[None], steps=4).outputs
            for step in range(4):
                # Undone by looking each cell up in the view.
                answer = np.zeros_like(question)
                answer[views.cells[view]] = np.argsort(views.tokens[view])[np.asarray(outputs.predictions[step, 0])]
                np.testing.assert_array_equal(attempt.predictions[step, -1], answer)
                assert attempt.solved is not None
                assert attempt.solved[step, -1] == KINDS["sudoku"].solved(question[None], answer[None])[0]
                assert not (attempt.solved[step, -1] and attempt.wrong[step, -1].any())
                sure = np.zeros(36)
                sure[views.cells[view]] = _stablemax(np.asarray(outputs.logits[step, 0], np.float64)).max(axis=-1)
                if step < 2:
                    # Later steps enlarge the differences in rounding between batches of two sizes.
                    np.testing.assert_allclose(attempt.confidence[step, -1], sure, atol=1e-4)
    solved = [puzzle.attempts[puzzle.winner].solved_after for puzzle in found]
    assert solved[0] is not None
    assert solved[0] == min(a.solved_after or 99 for a in found[0].attempts)


@pytest.mark.slow
def test_random_starts(model: TrainedModel):
    questions = np.stack([model.parse(puzzle) for puzzle in PUZZLES]).astype(np.int32)
    plain = trace_puzzles(model, questions, views=2, steps=4, seed=1)
    found = trace_puzzles(model, questions, views=2, steps=4, seed=1, starts=2)
    for puzzle, without in zip(found, plain, strict=True):
        assert [a.way for a in puzzle.attempts] == ["as it is", "symmetry", "random start", "random start"]
        for attempt, same in zip(puzzle.attempts, without.attempts, strict=False):
            np.testing.assert_array_equal(attempt.predictions, same.predictions)
        first = [attempt.confidence[0, 0] for attempt in puzzle.attempts]
        assert not any(np.allclose(first[i], first[j], atol=1e-4) for i, j in ((0, 2), (0, 3), (2, 3)))
    # From random latents the network still solves an easy puzzle.
    assert [attempt.solved_after is not None for attempt in found[0].attempts] == [True] * 4


def _stablemax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities by the formula of arXiv 2501.04697."""
    scores = np.where(logits >= 0, logits + 1, 1 / (1 - np.minimum(logits, 0)))
    return scores / scores.sum(axis=-1, keepdims=True)


def test_judged_by_the_truth(model: TrainedModel):
    question = model.parse(PUZZLES[0]).astype(np.int32)
    answer = model.solve(PUZZLES[0]).tokens
    other = answer.copy()
    other[[0, 7]] = 1
    (found,) = trace_puzzles(model, question[None], steps=4, truths=[other])
    (attempt,) = found.attempts
    np.testing.assert_array_equal(np.flatnonzero(attempt.wrong[-1, -1]), [0, 7])
    assert attempt.solved_after is None


def test_the_winner():
    def attempt(solved: list[bool], q_halt: float) -> AttemptTrace:
        tokens = np.zeros((2, 1, 4), np.int32)
        right = np.array(solved)[:, None]
        return AttemptTrace(tokens, tokens * 0.5, np.full((2, 1), q_halt), None, tokens == 1, right)

    def winner(*attempts: AttemptTrace) -> int:
        return PuzzleTrace(np.zeros(4, np.int32), None, attempts).winner

    late, early, never = [False, True], [True, True], [False, False]
    assert winner(attempt(never, 0.9), attempt(late, 0.1), attempt(early, 0.2)) == 2
    assert winner(attempt(never, 0.3), attempt(never, 0.6), attempt(never, 0.5)) == 1


def test_wrong_cells_of_a_sudoku():
    sudoku = KINDS["sudoku"]
    question = sudoku.parse("1..." + "." * 12, "question")[None]
    right = sudoku.parse("1234341221434321", "answer")[None]
    assert not sudoku.wrong_cells(question, right).any()
    broken = right.copy()
    broken[0, 0] = broken[0, 1]  # A second 2 in its row and box; the 2 in its column is in row 3.
    assert np.flatnonzero(sudoku.wrong_cells(question, broken)).tolist() == [0, 1, 8]
    broken[0, 0] = 1
    assert np.flatnonzero(sudoku.wrong_cells(question, broken)).tolist() == [0]


def test_wrong_cells_of_a_maze():
    maze = KINDS["maze"]
    question = maze.parse("S    " + "#### " * 2 + "     " + "G    ", "question")[None]
    right = maze.parse_answer("Soooo" + "####o" * 2 + "ooooo" + "G    ", "answer")[None]
    assert maze.solved(question, right).all()
    assert not maze.wrong_cells(question, right).any()
    astray = right.copy()
    astray[0, 24] = maze.characters.index("o") + 1
    astray[0, 5] = maze.characters.index(" ") + 1
    marked = np.flatnonzero(maze.wrong_cells(question, astray)).tolist()
    assert marked == [5]
