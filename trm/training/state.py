"""The training state: everything that a resumed run needs.

Entry: `make_state`, `load_state`, `save_state`; `abstract_state` for its shapes, `state_shardings` for its placement.
"""

from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, PyTree

from trm.checkpoints.description import Description
from trm.checkpoints.format import read_checkpoint, save
from trm.checkpoints.tree import fill
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.reasoner import Reasoner, trainable
from trm.model.recursions import RECURSIONS
from trm.model.recursions.equilibrium import Equilibrium
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import Batch
from trm.supervision.carry import Carry
from trm.training.optim.assemble import make_optimizer


class TrainState(eqx.Module):
    """Everything that a resumed run needs."""

    step: Int[Array, ""]
    """Training steps made so far."""
    model: Reasoner
    ema: Reasoner | None
    """Moving average of the trained weights, with None in place of constants; None without EMA."""
    optimizer: PyTree
    puzzle_table: Float[Array, "identifiers row_size"]
    carry: Carry
    rows_taken: Int[Array, ""] | None = None
    """Rows of the queue used so far; None without a queue."""


def total_steps(config: Config, metadata: Metadata) -> int:
    """Return the number of training steps in `epochs` passes over the puzzle set, counting a whole batch per step."""
    return int(config.train.epochs * metadata.examples_per_epoch / config.train.global_batch_size)


def make_state(config: Config, metadata: Metadata, mesh: Mesh) -> TrainState:
    """Make the state before the first step, on the devices; a function of the configuration and its seed."""
    check_divisible(config, mesh.size)
    shardings = state_shardings(abstract_state(config, metadata), mesh)
    return jax.jit(partial(_initial_state, config, metadata), out_shardings=shardings)()


def abstract_state(config: Config, metadata: Metadata) -> TrainState:
    """Return the shapes and dtypes of a state, without creating one."""
    return jax.eval_shape(partial(_initial_state, config, metadata))


def _initial_state(config: Config, metadata: Metadata) -> TrainState:
    model_key, _ = keys_of(config)
    _check_options(config, metadata)
    batch, seq_len = config.train.global_batch_size, metadata.seq_len
    model = Reasoner(config.model, metadata.vocab_size, seq_len, key=model_key)
    params = eqx.filter(model, trainable(model))
    tokens = jnp.zeros((batch, seq_len), jnp.int32)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        ema=params if config.optimizer.ema else None,
        optimizer=make_optimizer(config.optimizer, total_steps(config, metadata)).init(params),
        puzzle_table=jnp.zeros((metadata.num_puzzle_identifiers, config.model.row_size)),
        carry=Carry.empty(model, Batch(tokens, tokens, jnp.zeros(batch, jnp.int32))),
        rows_taken=jnp.zeros((), jnp.int32) if config.halting.refill == "queue" else None,
    )


def _check_options(config: Config, metadata: Metadata) -> None:
    kind = kind_of(metadata)
    if config.model.state == "digits" and not kind.has_digits:
        raise InputError(f"model.state: found 'digits' for puzzles of kind {kind.name!r}, expected 'cells'")
    if config.train.path_noise and not issubclass(RECURSIONS[config.model.recursion], Equilibrium):
        raise InputError(
            f"train.path_noise: found {config.train.path_noise} with model.recursion {config.model.recursion!r}, "
            "expected 0, or recursion 'equilibrium'"
        )


def state_shardings(state: TrainState, mesh: Mesh) -> TrainState:
    """Return the sharding of each array of a state: the carry split over the devices, the rest replicated."""
    replicated = jax.tree.map(lambda _: NamedSharding(mesh, REPLICATED), state)
    split = jax.tree.map(lambda _: NamedSharding(mesh, SPLIT), state.carry)
    return eqx.tree_at(lambda s: s.carry, replicated, split)


def check_divisible(config: Config, devices: int) -> None:
    """Raise InputError, naming sizes that fit, when a batch cannot be cut evenly over devices and microbatches."""
    batch, microbatches = config.train.global_batch_size, max(1, config.train.microbatches)
    pieces = devices * microbatches
    if batch % pieces == 0:
        return
    of = f"{devices} devices" + (f" x {microbatches} microbatches" if config.train.microbatches else "")
    sizes = [size for size in (batch // pieces * pieces, (batch // pieces + 1) * pieces) if size]
    fewer = max((count for count in range(1, devices) if batch % (count * microbatches) == 0), default=0)
    instead = f"; or --devices {fewer}" if fewer and jax.process_count() == 1 else ""
    raise InputError(
        f"train.global_batch_size: found {batch}, expected a multiple of {pieces} ({of}), such as "
        f"{' or '.join(map(str, sizes))}{instead}"
    )


def trained_weights(state: TrainState, averaged: bool = True) -> Weights:
    """Return the weights of a state: the moving average where there is one and `averaged`, else the raw ones."""
    model = eqx.combine(state.ema, state.model) if averaged and state.ema is not None else state.model
    return Weights(model, state.puzzle_table)


def save_state(path: str | Path, state: TrainState, description: Description) -> None:
    """Write a whole state, from which a run resumes."""
    save(path, state, description)


def load_state(path: str | Path) -> tuple[TrainState, Description]:
    """Read a whole state, as host arrays; raise InputError, naming the file, for anything but such a file."""
    arrays, description = read_checkpoint(path)
    if description.kind != "checkpoint":
        raise InputError(f"{path}: found only weights, expected a checkpoint that can be resumed")
    return fill(str(path), abstract_state(description.config, description.metadata), arrays), description


def keys_of(config: Config) -> tuple[Array, Array]:
    """Return the random keys of the initial weights and of the draws in training."""
    model_key, draws_key = jax.random.split(jax.random.key(config.train.seed))
    return model_key, draws_key
