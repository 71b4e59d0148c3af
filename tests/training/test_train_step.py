"""The training step: one device or many, whole or in pieces, from slots or from a queue, the numbers are the same."""

import re
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config

from trm.configuration.schema import Config
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.tables import Table
from trm.puzzles.loader import TrainLoader
from trm.supervision.batch import place_batch
from trm.training.curriculum import cycles_at
from trm.training.estimate import compile_train_step, lower_train_step
from trm.training.feed import open_feed
from trm.training.state import TrainState, make_state, trained_weights
from trm.training.step import make_train_step

DEVICES = len(jax.devices())


def run_steps(
    config: Config, puzzles: PuzzleSet, devices: int, steps: int = 6, cycles: tuple[int, int] | None = None
) -> tuple[TrainState, list[dict]]:
    """Train for a few steps; return the state and the metrics of each step, on the host."""
    mesh = make_mesh(devices)
    state = make_state(config, puzzles.metadata, mesh)
    train_step = make_train_step(config, puzzles.metadata, mesh, cycles)
    loader = TrainLoader(puzzles, config.train.global_batch_size, config.train.seed)
    metrics = []
    for step in range(steps):
        state, sums = train_step(state, place_batch(loader.load(step), mesh))
        metrics.append({name: float(value) for name, value in fetch(sums).items()})
    return fetch(state), metrics


def assert_equal_but_for_rounding(a: TrainState, b: TrainState, steps: int):
    """Compare two states after one step, or after six, in float32, summed in another order."""
    # Latents are of size 3 and go through a dozen network passes a step; weights move by 1e-3 a step.
    latents_atol, weights_atol = {1: (4e-6, 5e-8), 6: (1.5e-5, 2e-6)}[steps]
    for (path, x), (_, y) in zip(jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True):
        name = jax.tree_util.keystr(path)
        atol = latents_atol if "latents" in name else weights_atol
        np.testing.assert_allclose(
            np.asarray(x, np.float32), np.asarray(y, np.float32), rtol=0, atol=atol, err_msg=name
        )


def assert_equal(a, b):
    for (path, x), (_, y) in zip(jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


DIGITS = {"state": "digits", "puzzle_emb_ndim": 0, "mixer": "mlp", "positions": "none", "inner_multiple": 8}
EXPLORING = {"halting": {"halt_exploration_prob": 0.5, "halt_max_steps": 3}}


@pytest.mark.skipif(DEVICES < 4, reason="needs four devices")
@pytest.mark.parametrize("steps", [1, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("q_continue", ["unused", pytest.param("learned", marks=pytest.mark.slow)])
def test_one_two_and_four_devices_agree(splits: dict[str, PuzzleSet], q_continue: str, steps: int):
    config = tiny_config(halting=EXPLORING["halting"] | {"q_continue": q_continue})
    one, metrics_of_one = run_steps(config, splits["train"], 1, steps)
    # Sequences halted and were replaced on the way.
    assert steps == 1 or sum(m["count"] for m in metrics_of_one) > 8
    for devices in (2, 4):
        many, metrics = run_steps(config, splits["train"], devices, steps)
        assert_equal_but_for_rounding(one, many, steps)
        for a, b in zip(metrics_of_one, metrics, strict=True):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "steps"),
    [({}, 1), pytest.param({}, 6, marks=pytest.mark.slow), pytest.param(DIGITS, 1, marks=pytest.mark.slow)],
)
def test_microbatches_agree_with_the_whole_batch(splits: dict[str, PuzzleSet], model: dict, steps: int):
    config, in_pieces = (tiny_config(**EXPLORING, model=model, train={"microbatches": n}) for n in (1, 4))
    whole, metrics_of_whole = run_steps(config, splits["train"], 1, steps)
    pieces, metrics = run_steps(in_pieces, splits["train"], 1, steps)
    assert_equal_but_for_rounding(whole, pieces, steps)
    for a, b in zip(metrics_of_whole, metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


def run_from_queue(
    config: Config, puzzles: PuzzleSet, devices: int, steps: int
) -> tuple[TrainState, list[np.ndarray], list[int]]:
    """Train for a few steps, the feed told late what was taken; return state, inputs that began, and their numbers."""
    mesh = make_mesh(devices)
    state = make_state(config, puzzles.metadata, mesh)
    # A head that halts some and not others.
    weight = jax.random.normal(jax.random.key(0), (16, 2)) / 4
    state = eqx.tree_at(lambda s: (s.model.q_head.weight, s.model.q_head.bias), state, (weight, jnp.zeros(2)))
    train_step = make_train_step(config, puzzles.metadata, mesh)
    known, pending, begun, counts = 0, 0, [], []
    with open_feed(puzzles, config, mesh, start=0, rows_used=0) as feed:
        for _ in range(steps):
            halted = fetch(state.carry.halted)
            state, metrics = train_step(state, feed(known))
            begun += list(fetch(state.carry.batch.inputs)[halted])
            known, pending = known + pending, int(metrics["rows"])
            counts.append(pending)
    return fetch(state), begun, counts


QUEUED = {"halting": EXPLORING["halting"] | {"refill": "queue"}}


def test_no_row_of_the_queue_is_lost(splits: dict[str, PuzzleSet]):
    """Slots begin with the rows of the loader's batches, each once and in order, over many windows."""
    puzzles = splits["train"]
    state, begun, counts = run_from_queue(tiny_config(**QUEUED), puzzles, 1, steps=16)
    loader = TrainLoader(puzzles, 8, 0)
    expected = np.concatenate([loader.load(step).inputs for step in range(len(begun) // 8 + 1)])
    np.testing.assert_array_equal(begun, expected[: len(begun)])
    assert state.rows_taken == sum(counts) == len(begun)
    # Over more than a window, at an uneven pace.
    assert 3 * 8 < len(begun) < 16 * 8
    assert len(set(counts)) > 2


@pytest.mark.slow
@pytest.mark.skipif(DEVICES < 4, reason="needs four devices")
def test_a_queue_is_dealt_out_to_devices_and_pieces_as_to_one(splits: dict[str, PuzzleSet]):
    one, begun, _ = run_from_queue(tiny_config(**QUEUED), splits["train"], 1, steps=6)
    config = tiny_config(**QUEUED, train={"microbatches": 2})
    many, begun_on_many, _ = run_from_queue(config, splits["train"], 4, steps=6)
    np.testing.assert_array_equal(begun, begun_on_many)
    assert_equal_but_for_rounding(one, many, 6)


@pytest.mark.slow
def test_cycles_of_a_stage_are_those_of_a_model_that_has_them(splits: dict[str, PuzzleSet]):
    shallow, metrics = run_steps(tiny_config(model={"H_cycles": 1, "L_cycles": 1}), splits["train"], 1, steps=2)
    staged, metrics_of_staged = run_steps(tiny_config(), splits["train"], 1, steps=2, cycles=(1, 1))
    _, metrics_of_deep = run_steps(tiny_config(), splits["train"], 1, steps=2)
    for a, b in zip(jax.tree.leaves(shallow), jax.tree.leaves(staged), strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics == metrics_of_staged != metrics_of_deep


def test_stages_of_a_curriculum():
    config = tiny_config(train={"curriculum": [[0.3, 1, 1], [0.6, 2, 1]]})
    cycles = [cycles_at(config, step, 10) for step in range(1, 11)]
    assert cycles == [(1, 1)] * 3 + [(2, 1)] * 3 + [(2, 2)] * 4
    assert cycles_at(tiny_config(), 1, 10) == (2, 2)


@pytest.mark.compiler
@pytest.mark.slow
@pytest.mark.parametrize("mixer", [{}, {"mixer": "mlp", "positions": "none"}, DIGITS])
def test_rematerialization_takes_less_memory_and_changes_no_number(splits: dict[str, PuzzleSet], mixer: dict):
    puzzles = splits["train"]
    kept, again = (
        tiny_config(model={**mixer, "remat": remat}, train={"global_batch_size": 64}) for remat in (False, True)
    )
    accounts: list[Any] = [
        compile_train_step(config, puzzles.metadata, make_mesh(1)).memory_analysis() for config in (kept, again)
    ]
    temporary = [account.temp_size_in_bytes for account in accounts]
    assert temporary[1] < 0.8 * temporary[0]
    (a, a_metrics), (b, b_metrics) = (run_steps(config, puzzles, 1, steps=1) for config in (kept, again))
    assert_equal_but_for_rounding(a, b, 1)
    assert a_metrics[0]["lm_loss"] == pytest.approx(b_metrics[0]["lm_loss"], rel=1e-6)


@pytest.mark.compiler
@pytest.mark.slow
@pytest.mark.parametrize("model", [*({"recursion": name} for name in ("trm", "trm_singlez", "trm_hier6")), DIGITS])
def test_unrolled_cycles_are_no_loop_and_change_no_number(splits: dict[str, PuzzleSet], model: dict):
    puzzles = splits["train"]
    rolled, unrolled = (tiny_config(model=model | {"unroll": unroll}) for unroll in (False, True))
    loops = [
        lower_train_step(config, puzzles.metadata, make_mesh(1)).as_text().count("stablehlo.while")
        for config in (rolled, unrolled)
    ]
    # Of the cycles without a gradient, of those with one, and of their backward pass.
    assert loops[1] == loops[0] - 3
    (a, a_metrics), (b, b_metrics) = (run_steps(config, puzzles, 1, steps=1) for config in (rolled, unrolled))
    assert_equal_but_for_rounding(a, b, 1)
    assert a_metrics[0]["lm_loss"] == pytest.approx(b_metrics[0]["lm_loss"], rel=1e-6)


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("model", "microbatches"),
    [({}, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in (({}, 1), ({"puzzle_emb_ndim": 0}, 1)))],
)
def test_collectives_in_the_compiled_step(model: dict, microbatches: int):
    """One all-reduce and one all-gather (none without puzzle embeddings), neither inside a loop."""
    if DEVICES < 2:
        pytest.skip("needs two devices")
    config = tiny_config(model=model, train={"microbatches": microbatches})
    text = compile_train_step(config, sudoku_build.metadata_of(20, 4), make_mesh(2)).as_text()
    assert text is not None
    computations = re.split(r"\n(?=\S)", text)
    entry = [c for c in computations if c.startswith("ENTRY")]
    names = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)(?:-start)?\("
    everywhere = sorted(re.findall(rf"= \S+ {names}", text))
    assert everywhere == (["all-gather", "all-reduce"] if not model else ["all-reduce"])
    assert sorted(re.findall(rf"= \S+ {names}", entry[0])) == everywhere


@pytest.mark.compiler
def test_state_is_donated():
    """The memory of the old state is that of the new one."""
    memory = compile_train_step(tiny_config(), sudoku_build.metadata_of(20, 4), make_mesh(1)).memory_analysis()
    assert memory is not None
    tokens = 8 * (2 * 16 + 1) * 4
    assert memory.alias_size_in_bytes >= memory.argument_size_in_bytes - tokens - 64


def test_constants_are_not_trained(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"weight_decay": 1.0})
    before = fetch(make_state(config, splits["train"].metadata, make_mesh(1)))
    after, _ = run_steps(config, splits["train"], 1)
    assert_equal(before.model.recursion.initial, after.model.recursion.initial)
    assert after.ema is not None
    assert jax.tree.leaves(after.ema.recursion.initial) == []
    assert (before.model.lm_head != after.model.lm_head).any()


def test_frozen_weights_leave_only_the_puzzle_table_to_train(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"freeze_weights": True})
    before = fetch(make_state(config, splits["train"].metadata, make_mesh(1)))
    after, _ = run_steps(config, splits["train"], 1)
    assert_equal(before.model, after.model)
    assert (before.puzzle_table != after.puzzle_table).all()


@pytest.mark.slow
def test_average_equals_the_weights_before_its_start(splits: dict[str, PuzzleSet]):
    config = tiny_config(optimizer={"ema_rate": 0.9, "ema_start_step": 3})
    states = [run_steps(config, splits["train"], 1, steps)[0] for steps in (2, 3)]
    before, after = ((s.model.lm_head, s.ema.lm_head) for s in states if s.ema is not None)
    np.testing.assert_array_equal(*before)
    np.testing.assert_allclose(after[1], 0.9 * before[0] + 0.1 * after[0], rtol=1e-6)
    assert (after[0] != after[1]).all()


@pytest.mark.compiler
def test_nothing_is_compiled_after_the_first_step(splits: dict[str, PuzzleSet]):
    config, puzzles, mesh = tiny_config(), splits["train"], make_mesh(min(2, DEVICES))
    state, train_step = make_state(config, puzzles.metadata, mesh), make_train_step(config, puzzles.metadata, mesh)
    loader = TrainLoader(puzzles, 8, 0)
    for step in range(4):
        state, _ = train_step(state, place_batch(loader.load(step), mesh))
        # Private to JAX, and so not among the types.
        assert train_step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


NO_CYCLES = {"L_layers": 0, "H_cycles": 0, "L_cycles": 0}
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("model", "q_continue", "lr", "steps"),
    [
        slow({"mixer": "mlp", "positions": "none"}, "unused", 5e-3, 400),
        slow({"recursion": "hrm", "H_layers": 1, "mixer": "mlp", "positions": "none"}, "learned", 5e-3, 250),
        slow({"recursion": "trm_singlez", "mixer": "mlp", "positions": "none"}, "learned", 5e-3, 250),
        slow({"recursion": "trm_hier6", "mixer": "mlp", "positions": "none"}, "unused", 5e-3, 250),
        # Without recursion it takes four times as long, and a rate that does not throw it back.
        slow(
            {"recursion": "transformers_baseline", "H_layers": 2, "positions": "learned"} | NO_CYCLES,
            "compared",
            1e-3,
            1000,
        ),
    ],
    ids=["trm", "hrm", "trm_singlez", "trm_hier6", "transformers_baseline"],
)
def test_a_tiny_set_is_learned_by_heart(tables: dict[str, Table], model: dict, q_continue: str, lr: float, steps: int):
    """Sixteen puzzles, trained on until every answer is exactly right, by the same code as everything else."""
    table = Table(*(column[:16] for column in tables["train"]))
    puzzles = sudoku_build.build_split("sixteen", table, np.random.default_rng(0))
    config = tiny_config(
        model={"hidden_size": 32, "puzzle_emb_ndim": 0} | model,
        halting={"q_continue": q_continue},
        optimizer={"lr": lr, "lr_warmup_steps": 10, "weight_decay": 0.0, "ema_rate": 0.9},
        train={"global_batch_size": 16, "epochs": steps},
    )
    state, metrics = run_steps(config, puzzles, 1, steps=steps)
    assert metrics[-1]["lm_loss"] < 0.1 * metrics[0]["lm_loss"]
    mesh = make_mesh(1)
    report = evaluate_every_step(make_evaluation_step(config, mesh), trained_weights(state), puzzles, 16, mesh)["all"]
    assert report.metrics["exact_accuracy"] == 1.0
    if q_continue == "unused":
        assert report.metrics["halting_exact_accuracy"] == 1.0
    if q_continue == "learned":
        # It says when going on no longer promises more.
        assert metrics[-1]["q_continue_loss"] < 0.5 * metrics[0]["q_continue_loss"]


# Runs in a folder
