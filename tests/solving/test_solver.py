"""The solver: a candidate's answer is that of a plain loop at its own halting step, whoever shares the batch."""

import dataclasses
import zlib
from collections import Counter
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from trm.errors import InputError
from trm.model.recursions import unused_sizes
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import rules as maze_rules
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import rules as sudoku_rules
from trm.puzzles.metadata import Metadata
from trm.solving.options import NoiseOn, SolverOptions
from trm.solving.reason import AnswersByStep, reason
from trm.solving.selection import SelectionMethod, choose_answers
from trm.solving.solve import Candidates, noisy_latents, solve, solve_candidates
from trm.solving.views import Views, make_views
from trm.training.state import abstract_state, make_state, trained_weights

STEPS, PUZZLES = 6, 12
CONFIG = tiny_config(halting={"halt_max_steps": STEPS})


@pytest.fixture(scope="module")
def inputs(splits: dict[str, PuzzleSet]) -> np.ndarray:
    return splits["train"].sets["all"].inputs[::6][:PUZZLES].astype(np.int32)


@pytest.fixture(scope="module")
def weights(splits: dict[str, PuzzleSet], inputs: np.ndarray) -> Weights:
    """Return weights whose halting head stops some puzzles at once, some later and some never."""
    weights = trained_weights(make_state(CONFIG, splits["test"].metadata, make_mesh(1)))
    head = jax.random.normal(jax.random.key(1), (16, 2))
    weights = eqx.tree_at(lambda w: (w.model.q_head.weight, w.model.q_head.bias), weights, (head, jnp.zeros(2)))
    highest = reason(weights, jnp.asarray(inputs), steps=STEPS).outputs.q_halt_logits.max(axis=0)
    return eqx.tree_at(lambda w: w.model.q_head.bias, weights, jnp.array([-jnp.quantile(highest, 0.4), 0.0]))


@jax.jit
def plain_loop(weights: Weights, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs = reason(weights, inputs, steps=STEPS).outputs
    return outputs.predictions, outputs.q_halt_logits


def cut_at_halting(weights: Weights, inputs: np.ndarray, batch: int = PUZZLES) -> Candidates:
    """Run the plain loop on one batch after the other, and keep the step at which each puzzle halts."""
    parts = [plain_loop(weights, jnp.asarray(inputs[i : i + batch])) for i in range(0, len(inputs), batch)]
    predictions, q_halt_logits = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    steps = AnswersByStep(predictions, q_halt_logits, q_halt_logits > 0).halting_steps
    at = (steps - 1, np.arange(len(inputs)))
    return Candidates(predictions[at], q_halt_logits[at], steps, q_halt_logits[at] > 0)


def solve_with(
    weights: Weights,
    inputs: np.ndarray,
    slots: int = 4,
    devices: int = 1,
    views: Views | None = None,
    **options: Any,
) -> tuple[Candidates, np.ndarray]:
    identifiers = np.zeros(len(inputs), np.int32)
    return solve_candidates(
        weights, CONFIG, make_mesh(devices), inputs, identifiers, SolverOptions(**options), slots, views
    )


def assert_same(found: Candidates, expected: Candidates, q_rtol: float = 1e-4) -> None:
    """Require equal answers, steps and halting; `expected` may lack the axis of candidates."""
    expected = Candidates(*(b.reshape(a.shape) for a, b in zip(found, expected, strict=True)))
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_array_equal(found.halted, expected.halted)
    np.testing.assert_array_equal(found.answers, expected.answers)
    np.testing.assert_allclose(found.q_halt_logits, expected.q_halt_logits, rtol=q_rtol, atol=q_rtol)


def simulate(own_steps: np.ndarray, halts: np.ndarray, slots: int, first: bool = False) -> tuple[np.ndarray, int]:
    """Work a queue off with lists: own steps of (puzzles, candidates) in, steps that each got and iterations out."""
    puzzles, candidates = own_steps.shape
    queue = [(p, c) for c in range(candidates) for p in range(puzzles)]
    got, running, iterations = np.zeros_like(own_steps), [], 0
    while queue or running:
        while queue and len(running) < slots:
            running.append(queue.pop(0))
        iterations += 1
        for item in running:
            got[item] += 1
        solved = {item[0] for item in running if first and halts[item] and got[item] == own_steps[item]}
        running = [item for item in running if got[item] < own_steps[item] and item[0] not in solved]
        queue = [item for item in queue if item[0] not in solved]
    return got, iterations


# One compiled loop


@pytest.mark.parametrize("slots", [pytest.param(1, marks=pytest.mark.slow), 4, 50])
def test_slots_and_order_change_nothing(weights: Weights, inputs: np.ndarray, slots: int):
    expected = cut_at_halting(weights, inputs)
    assert len(set(expected.steps.tolist())) >= 3
    assert 0 < expected.halted.sum() < PUZZLES
    found, iterations = solve_with(weights, inputs, slots)
    assert_same(found, expected)
    order = np.random.default_rng(0).permutation(PUZZLES)
    shuffled, _ = solve_with(weights, inputs[order], slots)
    assert_same(shuffled, Candidates(*(array[order] for array in expected)))

    got, simulated = simulate(found.steps, found.halted, slots)
    np.testing.assert_array_equal(got, found.steps)
    assert iterations.tolist() == [simulated]
    # Nothing idles before the queue is empty.
    total, longest = found.steps.sum(), found.steps.max()
    assert total <= simulated * slots
    assert simulated <= (total - longest) / min(slots, PUZZLES) + longest


def test_equal_bits_in_batches_of_equal_size(weights: Weights, inputs: np.ndarray):
    found, _ = solve_with(weights, inputs, slots=4)
    assert_same(found, cut_at_halting(weights, inputs, batch=4), q_rtol=0.0)


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_agree(weights: Weights, inputs: np.ndarray, devices: int):
    """Eleven puzzles: shares differ, and what makes them equal takes no steps."""
    if len(jax.devices()) < devices:
        pytest.skip(f"needs {devices} devices")
    found, iterations = solve_with(weights, inputs[:11], slots=4, devices=devices)
    assert_same(found, Candidates(*(array[:11] for array in cut_at_halting(weights, inputs))))
    shares = [(found.steps[d::devices], found.halted[d::devices]) for d in range(devices)]
    assert iterations.tolist() == [simulate(*share, slots=4 // devices)[1] for share in shares]


def test_limits(weights: Weights, inputs: np.ndarray):
    predictions, q_halt_logits = map(np.asarray, plain_loop(weights, jnp.asarray(inputs)))
    never, every = np.zeros(PUZZLES, bool), np.ones(PUZZLES, int)
    found, iterations = solve_with(weights, inputs, adaptive=False)
    assert_same(found, Candidates(predictions[-1], q_halt_logits[-1], STEPS * every, never))
    assert iterations.tolist() == [PUZZLES // 4 * STEPS]
    found, _ = solve_with(weights, inputs, adaptive=False, max_steps=2)
    assert_same(found, Candidates(predictions[1], q_halt_logits[1], 2 * every, never))
    found, _ = solve_with(weights, inputs, max_steps=2)
    whole = cut_at_halting(weights, inputs)
    np.testing.assert_array_equal(found.steps[:, 0], np.minimum(whole.steps, 2))
    np.testing.assert_array_equal(found.halted[:, 0], whole.halted & (whole.steps <= 2))
    # The head has the last word at the last step too.
    assert (whole.halted & (whole.steps == 2)).any()


# Noise


def test_noise_by_hand(weights: Weights, inputs: np.ndarray):
    """Rollout 2 of each puzzle, step by step."""
    options: dict[str, Any] = {"noise": 0.5, "noise_on": "both", "rollouts": 3, "seed": 7, "adaptive": False}
    found, _ = solve_with(weights, inputs, **options)
    step = jax.jit(lambda inputs, z: weights.model(inputs, weights.puzzle_table[jnp.zeros(PUZZLES, int)], z))
    z = weights.model.initial_latents(inputs.shape)

    def noise(row: np.ndarray, step: int, latent: int) -> jax.Array:
        key = jax.random.key(7)
        for number in (zlib.crc32(b"\0\0\0\0" + row.astype("<i4").tobytes()), 2, step, latent):
            key = jax.random.fold_in(key, np.uint32(number))
        return 0.5 * jax.random.normal(key, (18, 16))

    said = []
    for t in range(STEPS):
        latents, structure = jax.tree.flatten(z)
        latents = [z + jnp.stack([noise(row, t, number) for row in inputs]) for number, z in enumerate(latents)]
        z, outputs = step(jnp.asarray(inputs), jax.tree.unflatten(structure, latents))
        said.append(outputs)
    np.testing.assert_array_equal(found.answers[:, 2], said[-1].predictions)
    np.testing.assert_allclose(found.q_halt_logits[:, 2], said[-1].q_halt_logits, rtol=1e-4, atol=1e-4)
    assert len(np.unique(found.q_halt_logits)) == 3 * PUZZLES


@pytest.mark.slow
def test_noise_belongs_to_the_puzzle(weights: Weights, inputs: np.ndarray):
    """Neither place, nor company, nor number of slots, nor of other rollouts matters."""
    options: dict[str, Any] = {"noise": 0.5, "rollouts": 3}
    found, _ = solve_with(weights, inputs, **options)
    assert (found.steps != cut_at_halting(weights, inputs).steps[:, None]).any()
    order = np.random.default_rng(1).permutation(PUZZLES)
    shuffled, _ = solve_with(weights, inputs[order], **options)
    assert_same(shuffled, Candidates(*(array[order] for array in found)))
    alone, _ = solve_with(weights, inputs[5:6], slots=2, noise=0.5, rollouts=2)
    assert_same(alone, Candidates(*(array[5:6, :2] for array in found)))
    other_seed, _ = solve_with(weights, inputs, **options, seed=1)
    assert (other_seed.q_halt_logits != found.q_halt_logits).all()


def test_noise_that_vanishes(weights: Weights, inputs: np.ndarray):
    """Noise far below what a float32 can tell apart is none, bit for bit."""
    found, _ = solve_with(weights, inputs, noise=1e-30, rollouts=3)
    none, _ = solve_with(weights, inputs, noise=0.0)
    assert_same(found, Candidates(*(np.repeat(array, 3, axis=1) for array in none)), q_rtol=0.0)


@pytest.mark.parametrize(
    ("recursion", "noise_on", "names"),
    [
        ("trm", "z_H", ["z_H"]),
        ("trm", "both", ["z_H", "z_L"]),
        ("hrm", "z_L", ["z_L"]),
        ("trm_singlez", "z_L", ["z_L"]),
        ("trm_hier6", "z_L", [f"z_L{i}" for i in range(1, 7)]),
        ("trm_hier6", "both", ["z_H", *(f"z_L{i}" for i in range(1, 7))]),
        ("transformers_baseline", "z_H", ["z_H"]),
        ("trm_singlez", "z_H", []),
        ("transformers_baseline", "z_L", []),
    ],
)
def test_latents_that_noise_is_added_to(
    splits: dict[str, PuzzleSet], recursion: str, noise_on: NoiseOn, names: list[str]
):
    layers = {"H_layers": 1, "L_layers": 1} | unused_sizes(recursion)
    config = tiny_config(model=TINY["model"] | {"recursion": recursion} | layers)
    built = abstract_state(config, splits["test"].metadata).model.recursion
    options = SolverOptions(noise=1.0, noise_on=noise_on)
    if names:
        assert list(noisy_latents(built, options)) == names
    else:
        with pytest.raises(
            InputError, match=f"noise_on: found '{noise_on}', expected 'both' or a latent of the recursion: "
        ):
            noisy_latents(built, options)


# Several candidates


@pytest.mark.parametrize("slots", [4, 50])
def test_first_releases_the_others(weights: Weights, inputs: np.ndarray, slots: int):
    options: dict[str, Any] = {"noise": 0.5, "rollouts": 3, "selection": "first"}
    every, _ = solve_with(weights, inputs, slots, **options)
    found, iterations = solve_with(weights, inputs, slots, stop_at_first=True, **options)
    steps, simulated = simulate(every.steps, every.halted, slots, first=True)
    np.testing.assert_array_equal(found.steps, steps)
    assert iterations.tolist() == [simulated]
    assert found.steps.sum() < 0.8 * every.steps.sum()
    # Who was first says what it says without competition; who never began says nothing.
    np.testing.assert_array_equal(found.halted, every.halted & (steps == every.steps))
    np.testing.assert_array_equal(found.halted.any(axis=1), every.halted.any(axis=1))
    np.testing.assert_array_equal(found.answers[found.halted], every.answers[found.halted])
    assert (found.q_halt_logits[found.steps == 0] == -np.inf).all()
    if slots == 4:
        assert (found.steps == 0).any()

    identifiers = np.zeros(PUZZLES, np.int32)
    solutions = solve(
        weights, CONFIG, make_mesh(1), inputs, identifiers, SolverOptions(**options, stop_at_first=True), slots
    )
    np.testing.assert_array_equal(solutions.halted, found.halted.any(axis=1))
    np.testing.assert_array_equal(solutions.steps, found.steps)


def test_solve_looks_from_all_sides(weights: Weights, inputs: np.ndarray, splits: dict[str, PuzzleSet]):
    """Views are undone, and the answer is the one of the most confident view."""
    views = make_views(splits["test"].metadata, 3, seed=1)
    identifiers = np.zeros(PUZZLES, np.int32)
    # So little noise that it is none.
    options = SolverOptions(noise=1e-30)
    solutions = solve(weights, CONFIG, make_mesh(1), inputs, identifiers, options, slots=4, views=views)
    seen = views.apply(inputs)
    by_view = [cut_at_halting(weights, seen[:, v]) for v in range(3)]
    steps, q_halt_logits = (np.stack([getattr(c, name) for c in by_view], 1) for name in ("steps", "q_halt_logits"))
    answers = views.undo(np.stack([c.answers for c in by_view], 1))
    best, each = q_halt_logits.argmax(axis=1), np.arange(PUZZLES)
    assert len(set(best.tolist())) == 3
    np.testing.assert_array_equal(solutions.answers, answers[each, best])
    np.testing.assert_allclose(solutions.confidence, 1 / (1 + np.exp(-q_halt_logits.max(axis=1))), rtol=1e-4)
    np.testing.assert_array_equal(solutions.halted, q_halt_logits.max(axis=1) > 0)
    np.testing.assert_array_equal(solutions.steps, steps)
    assert solutions.total_steps[0] == steps[0].sum()

    # Rollouts of views: the views of each rollout in turn.
    both, _ = solve_with(weights, inputs, views=Views(*(field[:2] for field in views)), noise=1e-30, rollouts=2)
    assert_same(both, Candidates(*(np.concatenate([array[:, :2]] * 2, axis=1) for array in stack(by_view, answers))))


def stack(by_view: list[Candidates], answers: np.ndarray) -> Candidates:
    arrays = [np.stack(arrays, axis=1) for arrays in zip(*by_view, strict=True)]
    return Candidates(answers, *arrays[1:])


def select_by_hand(
    method: SelectionMethod,
    rows: list[tuple],
    q: list[float],
    steps: list[int],
    halted: list[bool],
    obeys: list[bool],
) -> tuple:
    numbers = range(len(rows))
    if method == "vote":
        answer = []
        for tokens in zip(*rows, strict=True):
            score = {t: (tokens.count(t), sum(q[i] for i in numbers if tokens[i] == t), -t) for t in tokens}
            answer.append(max(tokens, key=lambda t, score=score: score[t]))
        agreement = [sum(a == b for a, b in zip(row, answer, strict=True)) for row in rows]
        return tuple(answer), max(numbers, key=lambda i: (agreement[i], q[i], -i))
    keys = {
        "confident": lambda i: (q[i], -i),
        "mode": lambda i: (Counter(rows)[rows[i]], q[i], -i),
        "first": lambda i: (halted[i], -steps[i] if halted[i] else 0, q[i], -i),
        "rules": lambda i: (obeys[i], -i if obeys[i] else q[i], -i),
    }
    chosen = max(numbers, key=keys[method])
    return rows[chosen], chosen


@pytest.mark.parametrize("method", get_args(SelectionMethod))
def test_selection_by_hand(method: SelectionMethod):
    """Few different tokens, steps and values, so that there are ties of all kinds."""
    rng = np.random.default_rng(0)
    for candidates in (1, 2, 3, 5, 8):
        shape = (40, candidates)
        answers = rng.integers(0, 3, (*shape, 2), dtype=np.int32)
        q = rng.integers(-2, 3, shape).astype(np.float32) / 4
        steps, halted = rng.integers(1, 4, shape, dtype=np.int32), rng.random(shape) < 0.5
        obeys = rng.random(shape) < 0.3
        found = choose_answers(method, answers, q, steps, halted, obeys)
        for puzzle in range(40):
            rows = [tuple(row) for row in answers[puzzle].tolist()]
            lists = (array[puzzle].tolist() for array in (q, steps, halted, obeys))
            expected = select_by_hand(method, rows, *lists)
            assert (tuple(found.answers[puzzle].tolist()), found.candidates[puzzle]) == expected


# Views


KINDS = [
    sudoku_build.metadata_of(1, 4),
    sudoku_build.metadata_of(1, 6),
    sudoku_build.metadata_of(1, 9),
    maze_build.metadata_of(1, 5),
]
KINDS.append(dataclasses.replace(KINDS[0], kind="other"))


@given(st.sampled_from(KINDS), st.integers(1, 8), st.integers(0, 2**32 - 1), st.data())
def test_views_are_undone(metadata: Metadata, views: int, seed: int, data: st.DataObject):
    """On any tokens whatever, padding and blanks among them."""
    made = make_views(metadata, 1 if metadata.kind == "other" else views, seed)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    tokens = rng.integers(0, metadata.vocab_size, (3, metadata.seq_len), dtype=np.uint8)
    seen = made.apply(tokens)
    assert seen.dtype == tokens.dtype
    np.testing.assert_array_equal(seen[:, 0], tokens)
    np.testing.assert_array_equal(made.undo(seen), np.repeat(tokens[:, None], len(made.cells), axis=1))
    # The other way round too: no two views of an answer fall together.
    answered = rng.integers(0, metadata.vocab_size, (len(made.cells), metadata.seq_len))
    undone = made.undo(answered)
    np.testing.assert_array_equal([made.apply(undone[v])[v] for v in range(len(undone))], answered)
    # One view for each puzzle.
    which = rng.integers(0, len(made.cells), 3)
    one_each = made.apply_each(tokens, which)
    np.testing.assert_array_equal(one_each, seen[np.arange(3), which])
    np.testing.assert_array_equal(made.undo_each(one_each, which), tokens)


def test_views_keep_the_rules(splits: dict[str, PuzzleSet]):
    arrays, metadata = splits["test"].sets["all"], splits["test"].metadata
    views = make_views(metadata, 5)
    questions, answers = (views.apply(a).reshape(-1, 4, 4) - 1 for a in (arrays.inputs, arrays.labels))
    assert sudoku_rules.obeys_rules(questions, answers).all()
    assert len(np.unique(questions[:5], axis=0)) == 5

    mazes = list(maze_generator.generate_many(5, 3, seed=0))
    board = np.stack([np.stack([m.question, m.answer]) for m in mazes]).reshape(3, 2, 25)
    seen = make_views(maze_build.metadata_of(3, 5), 8).apply(board)
    questions, answers = (seen[:, side].reshape(-1, 5, 5) for side in (0, 1))
    assert maze_rules.is_shortest_path(questions, answers).all()
    assert len(np.unique(questions[:8], axis=0)) > 4


# Mistakes


def test_views_that_there_are_not():
    with pytest.raises(InputError, match=r"views: found 9, expected 1 to 8 \(puzzles of kind 'maze'\)"):
        make_views(maze_build.metadata_of(1, 5), 9)
    with pytest.raises(InputError, match=r"views: found 2, expected 1 \(puzzles of kind 'other'\)"):
        make_views(KINDS[-1], 2)
    with pytest.raises(InputError, match=r"views: found 0, expected 1 or more \(puzzles of kind 'sudoku'\)"):
        make_views(KINDS[0], 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_steps": 0}, "max_steps: found 0, expected 1 or more"),
        ({"noise": -1.0}, "noise: found -1.0, expected 0 or more"),
        ({"rollouts": 2}, "rollouts: found 2 with noise 0, expected 1"),
        (
            {"stop_at_first": True},
            "stop_at_first: found true, expected it with adaptive and the selection 'first' only",
        ),
        ({"stop_at_first": True, "selection": "first", "adaptive": False}, "stop_at_first: found true"),
    ],
)
def test_thinking_that_makes_no_sense(options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        SolverOptions(**options)


def test_puzzles_that_cannot_be_thought_about(weights: Weights, inputs: np.ndarray):
    with pytest.raises(InputError, match="inputs: found no puzzles"):
        solve_with(weights, inputs[:0])
    with pytest.raises(InputError, match="slots: found 0, expected a multiple of 1 devices"):
        solve_with(weights, inputs, slots=0)
    with pytest.raises(InputError, match="views: found 81 cells, expected 16, as the puzzles have"):
        solve_with(weights, inputs, views=make_views(KINDS[2], 2))
