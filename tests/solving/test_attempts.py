"""Attempts: the first answer that obeys the rules, found by a plain loop over attempts and supervision steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

from trm.errors import InputError
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.arc.kind import Arc
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.maze.build import metadata_of as maze_metadata
from trm.puzzles.kinds.maze.kind import Maze
from trm.puzzles.kinds.sudoku.kind import Sudoku
from trm.puzzles.kinds.symmetries import Symmetries
from trm.solving import attempts as module
from trm.solving.attempts import Attempted, AttemptSolver
from trm.solving.guesses import Guesses
from trm.solving.options import SolverOptions, choose_attempts, choose_guesses
from trm.solving.reason import reason
from trm.solving.solve import noise_keys, solve
from trm.solving.views import Views, make_views, most_views
from trm.training.state import make_state, trained_weights

STEPS, PUZZLES = 4, 10
CONFIG = tiny_config(halting={"halt_max_steps": STEPS})


@pytest.fixture(scope="module")
def inputs(splits: dict[str, PuzzleSet]) -> np.ndarray:
    return splits["train"].sets["all"].inputs[::6][:PUZZLES].astype(np.int32)


@pytest.fixture(scope="module")
def weights(splits: dict[str, PuzzleSet]) -> Weights:
    return trained_weights(make_state(CONFIG, splits["test"].metadata, make_mesh(1)))


@pytest.fixture(scope="module")
def views(splits: dict[str, PuzzleSet]) -> Views:
    return make_views(splits["test"].metadata, 20)


def rules(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Hold for about one answer in fourteen, as luck has it: an untrained network solves nothing."""
    return (answers * np.arange(1, answers.shape[1] + 1)).sum(axis=1) % 14 == 3


def no_rules(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return np.zeros(len(answers), bool)


class Judged(PuzzleKind):
    """A kind without digits, with rules of a test."""

    def __init__(self, judge: Any):
        self.judge = judge

    def solved(self, questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return self.judge(questions, answers)


class JudgedDigits(Judged):
    """The same with digits."""

    has_digits = True


def run(
    weights: Weights,
    inputs: np.ndarray,
    views: Views,
    judge: Any = rules,
    devices: int = 1,
    kind: type[Judged] = Judged,
    **more: Any,
) -> list[tuple[int, Attempted]]:
    """Return each round's limit and a copy of what was found by its end."""
    options = SolverOptions(**more.pop("options", {}))
    identifiers = np.zeros(len(inputs), np.int32)
    slots, attempts = more.pop("slots", 8), more.pop("attempts")
    solver = AttemptSolver(weights, CONFIG, make_mesh(devices), options, slots, views, kind(judge), attempts)
    rounds = solver.rounds(inputs, identifiers, **more)
    return [(r.limit, Attempted(**{name: array.copy() for name, array in vars(r.found).items()})) for r in rounds]


@pytest.fixture(scope="module")
def every_step(weights: Weights, inputs: np.ndarray, views: Views) -> tuple[np.ndarray, np.ndarray]:
    """Return answers (steps, puzzles, views, cells) and q_halt logits of every view, by a plain loop."""
    seen = views.apply(inputs).reshape(-1, inputs.shape[1])
    outputs = jax.jit(lambda tokens: reason(weights, tokens, steps=STEPS).outputs)(jnp.asarray(seen))
    predictions = np.asarray(outputs.predictions).reshape(STEPS, PUZZLES, -1, inputs.shape[1])
    return views.undo(predictions), np.asarray(outputs.q_halt_logits).reshape(STEPS, PUZZLES, -1)


@pytest.mark.parametrize(("slots", "devices"), [(1, 1), (256, 1), (8, 4)])
def test_the_first_answer_that_obeys_wins(
    weights: Weights,
    inputs: np.ndarray,
    views: Views,
    every_step: tuple[np.ndarray, np.ndarray],
    slots: int,
    devices: int,
):
    """Whatever the slots: an answer of the round in which some attempt obeys, and of its first such step."""
    by_step, _ = every_step
    rounds = run(weights, inputs, views, slots=slots, devices=devices, attempts=20, options={"adaptive": False})
    assert [limit for limit, _ in rounds] == [1, 8, 20]
    obeys = np.stack([rules(inputs, by_step[t, :, v]) for t in range(STEPS) for v in range(20)])
    obeys = obeys.reshape(STEPS, 20, PUZZLES)
    for begin, (limit, found) in zip((0, 1, 8), rounds, strict=True):
        np.testing.assert_array_equal(found.obeys, obeys[:, :limit].any(axis=(0, 1)))
        for puzzle in np.flatnonzero(found.obeys & ~obeys[:, :begin].any(axis=(0, 1))):
            first = {
                by_step[obeys[:, v, puzzle].argmax(), puzzle, v].tobytes()
                for v in range(begin, limit)
                if obeys[:, v, puzzle].any()
            }
            assert found.answers[puzzle].tobytes() in first
            # With room for all attempts side by side, it is that of the fewest steps; of equals the first attempt.
            if slots == 256:
                t, v = np.unravel_index(obeys[:, begin:limit, puzzle].argmax(), (STEPS, limit - begin))
                np.testing.assert_array_equal(found.answers[puzzle], by_step[t, puzzle, begin + v])
                before = STEPS * begin
                assert found.steps[puzzle] == before + (t + 1) * (limit - begin)
                assert found.attempts[puzzle] == limit
            # One after the other, those that come later are never begun.
            if slots == 1:
                v = obeys[:, begin:limit, puzzle].any(axis=0).argmax()
                assert found.attempts[puzzle] == begin + v + 1
    assert 0 < rounds[0][1].obeys.sum() < rounds[1][1].obeys.sum() < rounds[2][1].obeys.sum()


def test_the_most_confident_without_rules_that_hold(
    weights: Weights, inputs: np.ndarray, views: Views, every_step: tuple[np.ndarray, np.ndarray]
):
    by_step, q_halt_logits = every_step
    (*_, (_, found)) = run(weights, inputs, views, no_rules, attempts=20, options={"adaptive": False})
    best = q_halt_logits[-1].argmax(axis=1)
    np.testing.assert_array_equal(found.answers, by_step[-1, np.arange(PUZZLES), best])
    np.testing.assert_allclose(found.q_halt_logits, q_halt_logits[-1].max(axis=1), rtol=1e-4, atol=1e-4)
    assert (found.steps == 20 * STEPS).all()
    assert (found.attempts == 20).all()
    assert not found.obeys.any()


def test_one_attempt_is_the_plain_pass(weights: Weights, inputs: np.ndarray, views: Views):
    ((limit, found),) = run(weights, inputs, views, no_rules, attempts=1)
    identifiers = np.zeros(PUZZLES, np.int32)
    plain = solve(weights, CONFIG, make_mesh(1), inputs, identifiers, SolverOptions(), 8)
    assert limit == 1
    np.testing.assert_array_equal(found.answers, plain.answers)
    np.testing.assert_array_equal(found.steps, plain.total_steps)
    np.testing.assert_array_equal(found.halted, plain.halted)


@pytest.mark.parametrize("attempts", [2, 9])
def test_a_last_round_that_leaves_slots_empty(attempts: int, weights: Weights, inputs: np.ndarray, views: Views):
    """Three sequences on four slots: the empty one has no attempt of the round."""
    (*_, (_, found)) = run(weights, inputs[:3], views, no_rules, attempts=attempts, options={"adaptive": False})
    (*_, (_, of_full)) = run(weights, inputs[:4], views, no_rules, attempts=attempts, options={"adaptive": False})
    np.testing.assert_array_equal(found.answers, of_full.answers[:3])
    assert (found.attempts == attempts).all()


def test_solved_puzzles_cost_nothing_more(weights: Weights, inputs: np.ndarray, views: Views):
    def always(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.ones(len(answers), bool)

    ((_, found),) = run(weights, inputs, views, always, attempts=20)
    assert (found.steps == 1).all()
    assert (found.attempts == 1).all()


@pytest.mark.slow
def test_noise_when_there_are_no_more_views(weights: Weights, inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    """Attempt 1 begins from the initial latents with noise on each of them, drawn from the puzzle's own key."""
    monkeypatch.setattr(module, "START_NOISE", 3.0)
    one_view = Views(np.arange(16)[None], np.arange(6)[None])
    seen: list[np.ndarray] = []

    def watch(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        seen.append(answers.copy())
        return np.zeros(len(answers), bool)

    run(weights, inputs, one_view, watch, attempts=2, slots=16, options={"adaptive": False})
    z = weights.model.initial_latents(inputs.shape)
    keys = noise_keys(0, inputs, np.zeros(PUZZLES, np.int32), np.array([1]))[:, 0]
    leaves, structure = jax.tree.flatten(z)

    def disturb(number: int, leaf: jax.Array) -> jax.Array:
        def draw(data: np.ndarray) -> jax.Array:
            key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(data)), np.uint32(2**32 - 1))
            return jax.random.normal(jax.random.fold_in(key, number), leaf.shape[1:])

        return leaf + 3.0 * jnp.stack([draw(data) for data in keys])

    z = jax.tree.unflatten(structure, [disturb(number, leaf) for number, leaf in enumerate(leaves)])
    expected = reason(weights, jnp.asarray(inputs), steps=STEPS, latents=z).outputs.predictions
    np.testing.assert_array_equal(np.stack(seen[STEPS:]), expected)
    plain = reason(weights, jnp.asarray(inputs), steps=STEPS).outputs.predictions
    np.testing.assert_array_equal(np.stack(seen[:STEPS]), plain)
    assert (np.asarray(expected) != np.asarray(plain)).any()


def test_seconds_end_the_attempts(weights: Weights, inputs: np.ndarray, views: Views):
    """The first round is made whole; what was found by the deadline is the answer."""
    ((_, found),) = run(weights, inputs, views, no_rules, attempts=20, seconds=0.0, options={"adaptive": False})
    assert (found.steps == STEPS).all()
    calls = []
    rounds = run(
        weights,
        inputs,
        views,
        no_rules,
        attempts=10**4,
        seconds=1.0,
        on_progress=lambda limit, found: calls.append((limit, found.steps.sum())),
    )
    assert rounds[-1][1].attempts.max() < 10**4
    assert calls[-1][1] == rounds[-1][1].steps.sum()
    assert [steps for _, steps in calls] == sorted(steps for _, steps in calls)


def test_guesses_of_the_third_round(
    weights: Weights, inputs: np.ndarray, views: Views, every_step: tuple[np.ndarray, np.ndarray]
):
    """Attempts 8 to 19 see cells of the last answers of attempts 0 to 7 as given; found by a plain loop."""

    def watch(judge: Any = no_rules, **more: Any) -> tuple[list[np.ndarray], Attempted]:
        judged: list[np.ndarray] = []

        def judge_too(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
            judged.append(answers)
            return judge(questions, answers)

        rounds = run(weights, inputs, views, judge_too, kind=JudgedDigits, attempts=20, **more)
        return judged, rounds[-1][1]

    options: dict[str, Any] = {"adaptive": False, "seed": 5}
    by_step = every_step[0]
    guesses = Guesses(JudgedDigits(no_rules), inputs, 3, seed=5)
    for v in range(8):
        guesses.keep(np.arange(PUZZLES), np.full(PUZZLES, v), by_step[-1, :, v])
    expected, counts = [], []
    for v in range(8, 20):
        seen, guessed = zip(*[guesses.give(puzzle, v, 8) for puzzle in range(PUZZLES)], strict=True)
        which = np.full(PUZZLES, v)
        outputs = reason(weights, jnp.asarray(views.apply_each(np.stack(seen), which)), steps=STEPS).outputs
        expected.append(views.undo_each(np.asarray(outputs.predictions[-1]), which))
        counts.append(guessed)
    assert (np.stack(counts) > 0).mean() > 0.5
    assert (np.stack(expected) != by_step[-1, :, 8:20].swapaxes(0, 1)).any()
    judged, _ = watch(slots=256, options=options)
    np.testing.assert_array_equal(judged[-1], np.concatenate(expected))

    # A right answer that only these attempts find says how many cells were guessed, on any slots and devices.
    new = (np.stack(expected)[:, :, None, None] != by_step.swapaxes(0, 1)[None, :, :, :8]).any(axis=-1).all(axis=(2, 3))
    v, lucky = np.argwhere(new & (np.stack(counts) == 3))[0]

    def only_lucky(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return (answers == expected[v][lucky]).all(axis=1) & (questions == inputs[lucky]).all(axis=1)

    for slots, devices in ((256, 1), (1, 1), (8, 4)):
        _, found = watch(only_lucky, slots=slots, devices=devices, options=options)
        assert found.obeys.tolist() == [puzzle == lucky for puzzle in range(PUZZLES)]
        assert found.guesses[lucky] == 3
    # Without guesses the attempts differ by views alone.
    judged, found = watch(slots=256, options=options | {"guesses": 0})
    np.testing.assert_array_equal(judged[-1], by_step[-1, :, 8:20].swapaxes(0, 1).reshape(judged[-1].shape))
    assert not found.guesses.any()


def test_a_guess_contradicts_nothing(inputs: np.ndarray):
    """Guesses are cells of one earlier answer, blank in the puzzle, and keep every rule; answers here are random."""
    rng, numbers = np.random.default_rng(0), np.arange(PUZZLES)
    guesses = Guesses(Sudoku(), inputs, 3, seed=0)
    assert guesses.give(0, 8, 8)[1] == 0
    answers = rng.integers(0, 6, (4, *inputs.shape))
    for attempt, of_attempt in enumerate(answers):
        guesses.keep(numbers, np.full(PUZZLES, attempt), of_attempt)
    seen = 0
    for puzzle in range(PUZZLES):
        for attempt in range(8, 28):
            given, count = guesses.give(puzzle, attempt, before=3)
            changed = given != inputs[puzzle]
            assert changed.sum() == count <= 3
            assert (inputs[puzzle][changed] == 1).all()
            # The fourth answer is of the same round.
            assert any((of_attempt[puzzle][changed] == given[changed]).all() for of_attempt in answers[:3])
            wrong = Sudoku().wrong_cells(inputs[puzzle][None], given[None])[0]
            assert not wrong[given != 1].any()
            np.testing.assert_array_equal(guesses.give(puzzle, attempt, before=3)[0], given)
            seen += count
    assert seen > PUZZLES * 20


def test_where_there_are_guesses():
    assert choose_guesses(None, Sudoku()) == 3
    assert choose_guesses(0, Sudoku()) == 0
    assert choose_guesses(None, Judged(no_rules)) == choose_guesses(0, Judged(no_rules)) == 0
    with pytest.raises(InputError, match="guesses: found 2, expected 0: puzzles of kind other have no digits"):
        choose_guesses(2, Judged(no_rules))
    with pytest.raises(InputError, match="guesses: found 2 together with views, expected one of them"):
        choose_attempts(None, None, 8, 1, None, Sudoku(), guesses=2)


def test_views_that_there_are(splits: dict[str, PuzzleSet]):
    assert len(most_views(maze_metadata(1, 5), 64).cells) == 8
    assert len(most_views(maze_metadata(1, 5), 3).cells) == 3
    many = most_views(splits["test"].metadata, 150)
    assert len(np.unique(np.concatenate([many.cells, many.tokens], axis=1), axis=0)) > 140
    np.testing.assert_array_equal(many.cells[0], np.arange(16))
    few = most_views(splits["test"].metadata, 70)
    np.testing.assert_array_equal(few.cells, many.cells[:70])
    np.testing.assert_array_equal(few.tokens, many.tokens[:70])


class Mirrored(Judged):
    """A kind with two symmetries: as it is, and from right to left."""

    name = "mirrored"

    def symmetries(self, rng: np.random.Generator, count: int, seq_len: int) -> Symmetries:
        cells = np.where(rng.integers(2, size=(count, 1)), np.arange(seq_len)[::-1], np.arange(seq_len))
        return Symmetries(cells, np.tile(np.arange(6), (count, 1)))


def test_few_symmetries_are_seen_once_each(monkeypatch: pytest.MonkeyPatch):
    """The attempts beyond them begin with noise, so that none repeats another."""
    monkeypatch.setattr("trm.solving.views.kind_of", lambda metadata: Mirrored(no_rules))
    found = most_views(maze_metadata(1, 5), 64)
    np.testing.assert_array_equal(found.cells, [np.arange(25), np.arange(25)[::-1]])
    np.testing.assert_array_equal(most_views(maze_metadata(1, 5), 1).cells, found.cells[:1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None, 1, None, Sudoku()), 512),
        ((None, None, None, 1, None, Sudoku(), 0), 64),
        ((5, None, None, 1, None, Sudoku()), 5),
        ((None, 2.0, None, 1, "rules", Maze()), 64),
        ((None, None, 8, 1, None, Sudoku()), None),
        ((None, None, None, 3, None, Sudoku()), None),
        ((None, None, None, 1, "mode", Sudoku()), None),
        ((None, None, None, 1, None, Arc()), None),
        ((5, None, 8, 1, None, Sudoku()), "attempts: found 5 together with views, expected one of them"),
        ((None, 1.0, None, 3, None, Sudoku()), "seconds: found 1.0 together with rollouts, expected one of them"),
        ((5, None, None, 1, None, Arc()), "attempts: found 5, expected none: the rules of the puzzles are not known"),
        ((0, None, None, 1, None, Sudoku()), "attempts: found 0, expected more than 0"),
    ],
)
def test_when_there_are_attempts(given: tuple, expected: int | str | None):
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            choose_attempts(*given)
    else:
        assert choose_attempts(*given) == expected
