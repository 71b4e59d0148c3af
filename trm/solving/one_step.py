"""One compiled supervision step on the sequences that the host has put into slots. Entry: `compile_step`."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, UInt32

from trm.configuration.schema import HaltingConfig
from trm.model.recursions import Latents
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT
from trm.solving.slots import Noisy, add_noise, begin_latents
from trm.supervision.batch import select
from trm.supervision.halting import wants_to_halt


class Sequences(NamedTuple):
    """The contents of the slots before a supervision step."""

    inputs: Int[Array, "slots seq_len"]
    puzzle_identifiers: Int[Array, " slots"]
    keys: UInt32[Array, "slots words"]
    steps: Int[Array, " slots"]
    """Supervision steps made; 0: the sequence begins."""
    start_noise: Float[Array, " slots"]
    noise: Float[Array, " slots"]


class StepAnswers(NamedTuple):
    """The answers after a supervision step."""

    tokens: Int[Array, "slots seq_len"]
    q_halt_logits: Float[Array, " slots"]
    halts: Bool[Array, " slots"]


@cache
def compile_step(
    halting: HaltingConfig, mesh: Mesh, noisy: Noisy
) -> Callable[[Weights, Latents, Sequences], tuple[Latents, StepAnswers]]:
    """Compile one supervision step on the sequences in all slots."""

    def local_step(weights: Weights, latents: Latents, sequences: Sequences) -> tuple[Latents, StepAnswers]:
        keys = jax.random.wrap_key_data(sequences.keys)
        initial = weights.model.initial_latents(sequences.inputs.shape)
        begin = begin_latents(initial, keys, sequences.start_noise, noisy.start)
        latents = select(sequences.steps == 0, begin, latents)
        step_keys = jax.vmap(jax.random.fold_in)(keys, sequences.steps)
        latents = add_noise(latents, step_keys, sequences.noise, noisy.steps)
        rows = weights.puzzle_table[sequences.puzzle_identifiers]
        latents, outputs = weights.model(sequences.inputs, rows, latents)
        return latents, StepAnswers(outputs.predictions, outputs.q_halt_logits, wants_to_halt(outputs, halting))

    return jax.jit(
        jax.shard_map(local_step, mesh=mesh, in_specs=(REPLICATED, SPLIT, SPLIT), out_specs=SPLIT),
        donate_argnums=1,
        out_shardings=NamedSharding(mesh, SPLIT),
    )
