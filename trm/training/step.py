"""The training step: from a `TrainState` and a batch to the next state and the metrics of the step.

Entry: `make_train_step`.

The state is replicated on all devices but for the carry, which is split like the batch. A device refills its part of
the carry, differentiates its own sequences, and takes part in exactly two collectives: one all-reduce of the dense
gradients and the metrics together, one all-gather of the puzzle rows' gradients. Then every device makes the same
update. Where slots are refilled from a queue, the devices first share which slots have halted.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, PyTree, UInt32

from trm.configuration.schema import Config
from trm.model.reasoner import Reasoner, trainable
from trm.model.recursions.equilibrium import Equilibrium, PathNoise
from trm.parallel.mesh import AXIS, REPLICATED, SPLIT, cut, varying
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import Batch, Window
from trm.supervision.carry import Carry
from trm.supervision.halting import draw_min_halt_steps
from trm.supervision.loss import Metrics
from trm.supervision.microbatches import pieces_of
from trm.supervision.starts import Starts, draw_starts
from trm.supervision.step import supervision_step
from trm.training.optim.assemble import make_optimizer
from trm.training.optim.ema import update_ema
from trm.training.optim.schedule import warmup_cosine
from trm.training.optim.sign_sgd import sign_sgd_rows
from trm.training.state import (
    TrainState,
    abstract_state,
    check_divisible,
    keys_of,
    state_shardings,
    total_steps,
)


@runtime_checkable
class TrainStep(Protocol):
    """A compiled training step. It takes a batch, or a window where slots are refilled from a queue."""

    def __call__(self, state: TrainState, data: Batch | Window, /) -> tuple[TrainState, Metrics]: ...

    def lower(self, state: TrainState, data: Batch | Window, /) -> jax.stages.Lowered:
        """Lower the step for abstract arrays."""
        ...


def make_train_step(config: Config, metadata: Metadata, mesh: Mesh, cycles: tuple[int, int] | None = None) -> TrainStep:
    """Compile the training step for a mesh. The state is donated: its arrays are updated in place.

    `cycles`: H_cycles and L_cycles to run, other than the configuration's.

    The metrics are the sums of `trm.supervision.loss.Metrics` and values of the step: `lr`, the learning rate;
    `gradient_norm`, the norm of the gradient of the mean loss, in which the puzzle-embedding row of each sequence
    counts separately; `parameter_norm`, the norm of the trained weights after the update; with a queue, `rows`, the
    number of rows used.
    """
    check_divisible(config, mesh.size)
    steps = total_steps(config, metadata)
    optimizer = make_optimizer(config.optimizer, steps)
    rules = config.optimizer
    lr, puzzle_emb_lr = (
        warmup_cosine(base, rules.lr_warmup_steps, steps, rules.lr_min_ratio)
        for base in (rules.lr, rules.puzzle_emb_lr)
    )
    _, draws_key = keys_of(config)
    staged = config if cycles is None else dataclasses.replace(config, model=config.model.with_cycles(*cycles))
    # The numbers of cycles are part of a model's structure, not of its arrays.
    structure = jax.tree.structure(abstract_state(staged, metadata).model)

    def as_run(model: Reasoner) -> Reasoner:
        return jax.tree.unflatten(structure, jax.tree.leaves(model))

    gradients = jax.shard_map(
        partial(_gradients, config, as_run, mesh.devices.flat[0].platform),
        mesh=mesh,
        in_specs=(REPLICATED, REPLICATED, SPLIT, SPLIT, SPLIT),
        out_specs=(SPLIT, REPLICATED),
    )

    def train_step(state: TrainState, data: Batch | Window) -> tuple[TrainState, Metrics]:
        step = state.step + 1
        batch, rows_used = _assign_rows(state, data, mesh) if isinstance(data, Window) else (data, None)
        # Drawn for the global batch, then split with it: the same on any number of devices.
        key, size = jax.random.fold_in(draws_key, step), len(batch.inputs)
        starts = draw_starts(jax.random.fold_in(key, 0), size, config.train)
        noise_keys = None
        if config.train.path_noise:
            noise_keys = jax.random.key_data(jax.random.split(jax.random.fold_in(key, 1), size))
        draws = _Draws(draw_min_halt_steps(key, size, config.halting), starts, noise_keys)
        carry, (grads, metrics) = gradients(state.model, state.puzzle_table, state.carry, batch, draws)

        params, constants = eqx.partition(state.model, trainable(state.model))
        updates, optimizer_state = optimizer.update(grads.dense, state.optimizer, params)
        params = eqx.apply_updates(params, updates)
        table = state.puzzle_table
        if config.model.row_size:
            table = sign_sgd_rows(
                table, grads.identifiers, grads.rows, puzzle_emb_lr(step), rules.puzzle_emb_weight_decay
            )
        metrics |= {
            "lr": lr(step),
            "gradient_norm": optax.tree.norm((grads.dense, grads.rows)),
            # Tells of an update that ruins the weights at the step that made it, before anything is saved.
            "parameter_norm": optax.tree.norm(params),
        }
        if rows_used is not None and state.rows_taken is not None:
            metrics["rows"] = (rows_used - state.rows_taken).astype(jnp.float32)
        ema = None if state.ema is None else update_ema(state.ema, params, rules.ema_rate)
        if ema is not None and rules.ema_start_step:
            ema = jax.tree.map(partial(jnp.where, step < rules.ema_start_step), params, ema)
        model = eqx.combine(params, constants)
        return TrainState(step, model, ema, optimizer_state, table, carry, rows_used), metrics

    # Fixed shardings: the outputs can be inputs of the next call without a second compilation.
    shardings = state_shardings(abstract_state(config, metadata), mesh)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, NamedSharding(mesh, REPLICATED)))


def _assign_rows(state: TrainState, window: Window, mesh: Mesh) -> tuple[Batch, Int[Array, ""]]:
    """Assign the rows of a window to the slots of all devices."""
    assert state.rows_taken is not None
    # The row of a slot depends on the slots before it, on any device; each device takes its own rows.
    halted = jax.lax.with_sharding_constraint(state.carry.halted, NamedSharding(mesh, REPLICATED))
    batch, rows_used = window.assign_rows(halted, state.rows_taken)
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, SPLIT)), rows_used


class _Draws(NamedTuple):
    """Random draws of a step, one for each slot."""

    min_halt_steps: Int[Array, " batch"]
    starts: Starts | None
    noise_keys: UInt32[Array, "batch 2"] | None


class _Gradients(NamedTuple):
    """Gradients of the loss over the global batch, divided by its size."""

    dense: PyTree
    """Gradient of the trained weights: a `Reasoner` with None in place of constants."""
    rows: Float[Array, "batch row_size"]
    identifiers: Int[Array, " batch"]
    """The row of the puzzle table that each row gradient belongs to."""


def _gradients(
    config: Config,
    as_run: Callable[[Reasoner], Reasoner],
    platform: str,
    model: Reasoner,
    table: Float[Array, "identifiers row_size"],
    carry: Carry,
    batch: Batch,
    draws: _Draws,
) -> tuple[Carry, tuple[_Gradients, Metrics]]:
    """Take a supervision step on one device's sequences and add up the gradients over all devices."""
    model = varying(model)
    params, constants = eqx.partition(model, trainable(model))
    carry = carry.refill(model, batch, draws.starts)
    identifiers = carry.batch.puzzle_identifiers
    rows = table[identifiers]

    def loss(params_and_rows, carry: Carry, min_halt_steps: Array, noise_keys: Array | None):
        params, rows = params_and_rows
        model = as_run(eqx.combine(params, constants))
        if noise_keys is not None:
            assert isinstance(model.recursion, Equilibrium)
            noisy = model.recursion.with_noise(PathNoise(noise_keys, config.train.path_noise))
            model = eqx.tree_at(lambda model: model.recursion, model, noisy)
        loss, (carry, _, metrics) = supervision_step(model, rows, carry, config, min_halt_steps)
        return loss / config.train.global_batch_size, (carry, metrics)

    def differentiate(rows: Array, carry: Carry, min_halt_steps: Array, noise_keys: Array | None):
        (dense, rows), (carry, metrics) = jax.grad(loss, has_aux=True)(
            (params, rows), carry, min_halt_steps, noise_keys
        )
        return (rows, carry), (dense, metrics)

    count, seq_len = carry.batch.inputs.shape
    pieces = pieces_of(config, seq_len, count, platform, model.digits)
    if pieces == 1:
        (rows, carry), sums = differentiate(rows, carry, draws.min_halt_steps, draws.noise_keys)
    else:
        (rows, carry), sums = _in_pieces(differentiate, pieces, rows, carry, draws.min_halt_steps, draws.noise_keys)

    # All sums go through one collective, as one vector.
    flat, unravel = ravel_pytree(sums)
    dense, metrics = unravel(jax.lax.psum(flat, AXIS))
    rows, identifiers = _gather_rows(rows, identifiers)
    return carry, (_Gradients(dense, rows, identifiers), metrics)


def _in_pieces(differentiate: Callable, pieces: int, *batched: PyTree) -> tuple[PyTree, PyTree]:
    """Apply a function to a batch in pieces, one after the other: join results per sequence, add up sums."""
    batched = cut(batched, pieces)
    shapes = jax.eval_shape(lambda piece: differentiate(*piece)[1], jax.tree.map(lambda leaf: leaf[0], batched))
    zeros = varying(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))

    def add_piece(sums: PyTree, piece: PyTree) -> tuple[PyTree, PyTree]:
        joined, more = differentiate(*piece)
        return jax.tree.map(jnp.add, sums, more), joined

    sums, joined = jax.lax.scan(add_piece, zeros, batched)
    return jax.tree.map(lambda leaf: leaf.reshape(pieces * leaf.shape[1], *leaf.shape[2:]), joined), sums


def _gather_rows(
    rows: Float[Array, "local row_size"], identifiers: Int[Array, " local"]
) -> tuple[Float[Array, "batch row_size"], Int[Array, " batch"]]:
    """Gather every device's row gradients and identifiers in one collective."""
    if not rows.shape[-1]:
        return jnp.zeros((0, 0)), jnp.zeros(0, jnp.int32)
    # The floats are sent as integers, with the identifiers as one more column: as the bits of floats, identifiers are
    # denormal numbers, which a device may flush to zero.
    bits = jnp.concatenate([jax.lax.bitcast_convert_type(rows, jnp.int32), identifiers[:, None]], axis=1)
    gathered = jax.lax.all_gather(bits, AXIS, tiled=True, to="invarying")
    return jax.lax.bitcast_convert_type(gathered[:, :-1], jnp.float32), gathered[:, -1]
