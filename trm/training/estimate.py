"""An estimate of a run without training: parameters, steps, examples, memory.

Entry: `estimate`; `compile_train_step`, `lower_train_step` for the program itself.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from trm.configuration.schema import Config
from trm.model.reasoner import count_parameters
from trm.parallel.mesh import REPLICATED, SPLIT
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import Batch, Window
from trm.training.feed import WINDOW_BATCHES
from trm.training.state import TrainState, abstract_state, state_shardings, total_steps
from trm.training.step import make_train_step

T = TypeVar("T")


class Estimate(NamedTuple):
    """The size of a run. Bytes are per device, as the compiler reports them."""

    parameters: int
    """Number of trained parameters, without the puzzle table."""
    puzzle_table: int
    """Numbers in the puzzle table."""
    steps: int
    examples: int
    """Training rows in the batches of all steps."""
    state_bytes: int
    """Memory that stays between steps: weights, average, optimiser, carry, a batch."""
    temporary_bytes: int
    """Further memory during a step."""


def estimate(config: Config, metadata: Metadata, mesh: Mesh) -> Estimate:
    """Estimate a run: compile a training step on abstract arrays and take the memory from the program."""
    compiled = compile_train_step(config, metadata, mesh)
    state = abstract_state(config, metadata)
    memory = compiled.memory_analysis()
    assert memory is not None  # CPU, GPU and TPU all report it.
    steps = total_steps(config, metadata)
    return Estimate(
        parameters=count_parameters(state.model),
        puzzle_table=state.puzzle_table.size,
        steps=steps,
        examples=steps * config.train.global_batch_size,
        state_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
    )


def compile_train_step(config: Config, metadata: Metadata, mesh: Mesh) -> jax.stages.Compiled:
    """Compile the training step without creating a state."""
    return lower_train_step(config, metadata, mesh).compile()


def lower_train_step(config: Config, metadata: Metadata, mesh: Mesh) -> jax.stages.Lowered:
    """Lower the training step on abstract arrays with the shardings of a run."""
    state = abstract_state(config, metadata)
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(state, mesh),
    )
    return make_train_step(config, metadata, mesh).lower(state, _abstract_data(config, state, mesh))


def _abstract_data(config: Config, state: TrainState, mesh: Mesh) -> Batch | Window:
    """Return the data that a step takes beside the state, as abstract arrays with shardings."""
    if config.halting.refill == "slot":
        return _placed(state.carry.batch, NamedSharding(mesh, SPLIT))

    def window(state: TrainState) -> Window:
        rows = jax.tree.map(lambda rows: jnp.concatenate([rows] * WINDOW_BATCHES), state.carry.batch)
        return Window(rows, state.step)

    return _placed(jax.eval_shape(window, state), NamedSharding(mesh, REPLICATED))


def _placed(tree: T, sharding: NamedSharding) -> T:
    """Return abstract arrays with their shardings."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
