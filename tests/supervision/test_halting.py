"""Halting: which sequences halt, which puzzles refill their slots, and the effect of exploration."""

import jax
import jax.numpy as jnp
import numpy as np
from conftest import tiny_config

from trm.model.reasoner import Outputs, Reasoner
from trm.supervision.batch import Batch, Window
from trm.supervision.carry import Carry
from trm.supervision.halting import draw_min_halt_steps, q_continue_target

SEQ_LEN, VOCAB = 16, 6


def make_batch(size: int, token: int) -> Batch:
    tokens = jnp.full((size, SEQ_LEN), token)
    return Batch(tokens, tokens, jnp.full(size, token))


def make_outputs(q_halt: list[float], q_continue: list[float] | None = None) -> Outputs:
    batch = len(q_halt)
    return Outputs(jnp.zeros((batch, SEQ_LEN, VOCAB)), jnp.array(q_halt), jnp.array(q_continue or [0.0] * batch))


def make_carry(size: int) -> tuple[Reasoner, Carry]:
    model = Reasoner(tiny_config().model, VOCAB, SEQ_LEN, key=jax.random.key(0))
    return model, Carry.empty(model, make_batch(size, 0))


def test_only_halted_slots_are_refilled():
    model, carry = make_carry(3)
    carry = carry.refill(model, make_batch(3, 1))
    assert carry.batch.inputs[:, 0].tolist() == [1, 1, 1]
    moved = jax.tree.map(lambda z: z + 1, carry.latents)
    carry = Carry(moved, jnp.array([3, 4, 2]), jnp.array([False, True, False]), carry.batch)
    refilled = carry.refill(model, make_batch(3, 2))
    assert refilled.batch.puzzle_identifiers.tolist() == [1, 2, 1]
    assert refilled.batch.inputs[:, 0].tolist() == [1, 2, 1]
    assert refilled.steps.tolist() == [3, 0, 2]
    assert not refilled.halted.any()
    initial = model.initial_latents((3, SEQ_LEN))
    for z, first, before in zip(*map(jax.tree.leaves, (refilled.latents, initial, moved)), strict=True):
        np.testing.assert_array_equal(z[1], first[1])
        np.testing.assert_array_equal(z[0], before[0])


def test_a_window_assigns_its_rows_in_order():
    tokens = jnp.broadcast_to(jnp.arange(6)[:, None], (6, SEQ_LEN))
    window = Window(Batch(tokens, tokens + 10, jnp.arange(6) + 20), jnp.int32(100))
    halted = jnp.array([False, True, True, False, True])
    batch, rows_used = window.assign_rows(halted, jnp.int32(102))
    assert rows_used == 105
    assert batch.inputs[:, 0][halted].tolist() == [2, 3, 4]
    assert batch.labels[:, 0][halted].tolist() == [12, 13, 14]
    assert batch.puzzle_identifiers[halted].tolist() == [22, 23, 24]
    assert window.assign_rows(jnp.zeros(5, bool), jnp.int32(100))[1] == 100


def test_who_halts_in_training():
    config = tiny_config(halting={"halt_max_steps": 4}).halting
    _, carry = make_carry(5)
    carry = Carry(carry.latents, jnp.array([0, 0, 3, 1, 3]), carry.halted, carry.batch)
    outputs = make_outputs([-1.0, 1.0, -1.0, 1.0, 1.0])
    advanced = carry.advance(carry.latents, outputs, config, jnp.array([0, 0, 0, 3, 3]))
    assert advanced.steps.tolist() == [1, 1, 4, 2, 4]
    # Not sure; sure; out of steps; sure but exploring; out of steps.
    assert advanced.halted.tolist() == [False, True, True, False, True]


def test_evaluation_goes_on_to_the_end():
    config = tiny_config(halting={"halt_max_steps": 2}).halting
    _, carry = make_carry(2)
    once = carry.advance(carry.latents, make_outputs([9.0, -9.0]), config, None)
    assert not once.halted.any()
    assert once.advance(carry.latents, make_outputs([9.0, -9.0]), config, None).halted.all()


def test_q_continue_decides_where_it_is_learned():
    config = tiny_config(halting={"q_continue": "compared"}).halting
    _, carry = make_carry(2)
    outputs = make_outputs([1.0, -1.0], [2.0, -2.0])
    advanced = carry.advance(carry.latents, outputs, config, jnp.zeros(2, jnp.int32))
    assert advanced.halted.tolist() == [False, True]


def test_q_continue_target_is_the_best_of_the_next_step():
    config = tiny_config(halting={"halt_max_steps": 4}).halting
    next_outputs = make_outputs([1.0, 1.0, -1.0], [2.0, 0.0, 5.0])
    target = q_continue_target(next_outputs, jnp.array([1, 1, 4]), config)
    np.testing.assert_allclose(target, jax.nn.sigmoid(jnp.array([2.0, 1.0, -1.0])), rtol=1e-6)


def test_exploration_draws():
    config = tiny_config(halting={"halt_max_steps": 5, "halt_exploration_prob": 0.25}).halting
    draws = np.asarray(draw_min_halt_steps(jax.random.key(1), 40_000, config))
    values, counts = np.unique(draws, return_counts=True)
    assert values.tolist() == [0, 2, 3, 4, 5]
    # Standard deviation about 90 of 10,000 explorers, about 48 of 2,500 for each length.
    assert abs(counts[0] - 30_000) < 500
    assert (np.abs(counts[1:] - 2_500) < 250).all()
