"""The solver's loop on a device: slots refine candidates until the halting head, or a limit, stops them.

Puzzles need different numbers of supervision steps. A batch that runs all of them to the end spends most of its time on
those that were solved early. Here a candidate leaves its slot when it is done and the next one takes the slot, all in
one compiled loop.

Entry: `compile_loop`.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from trm.configuration.schema import HaltingConfig
from trm.model.recursions import Latents
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT, varying
from trm.supervision.batch import select
from trm.supervision.halting import wants_to_halt


class Items(NamedTuple):
    """The candidates of a device's puzzles, in the order in which they take slots."""

    inputs: Int[Array, "items seq_len"]
    puzzle_identifiers: Int[Array, " items"]
    puzzles: Int[Array, " items"]
    """Number of the item's puzzle among those of the device."""
    keys: UInt32[Array, "items words"]
    """Data of each item's random key."""
    waiting: Bool[Array, " items"]
    """Whether the item takes a slot; false for padding, which makes the devices' shares equal."""


class Limits(NamedTuple):
    """Options that the compiled loop takes as arrays: a change needs no compilation."""

    max_steps: Int[Array, ""]
    adaptive: Bool[Array, ""]
    stop_at_first: Bool[Array, ""]
    start_noise: Float[Array, ""]
    """Standard deviation of the noise on the latents that a candidate begins with."""
    noise: Float[Array, ""]
    """Standard deviation of the noise before every supervision step."""


class ItemAnswers(NamedTuple):
    """The answer to each item."""

    answers: Int[Array, "items seq_len"]
    q_halt_logits: Float[Array, " items"]
    """Minus infinity for an item that never took a slot."""
    steps: Int[Array, " items"]
    halted: Bool[Array, " items"]
    """Whether the halting head stopped the item."""


class _LoopState(NamedTuple):
    """State of a device between two supervision steps."""

    waiting: Bool[Array, " items"]
    held: Int[Array, " slots"]
    """The item in each slot; the number of items for an empty slot."""
    latents: Latents
    steps: Int[Array, " slots"]
    """Supervision steps made on the item."""
    answered: ItemAnswers
    iterations: Int[Array, "1"]


class Noisy(NamedTuple):
    """Names of the latents that get noise. A program without noise draws none."""

    start: tuple[str, ...] = ()
    """Latents with noise at the start of a sequence."""
    steps: tuple[str, ...] = ()
    """Latents with noise before every supervision step."""


Loop = Callable[[Weights, Items, Limits], tuple[ItemAnswers, Int[Array, " devices"]]]
"""Returns the answers and the supervision steps that each device made on all its slots."""


@cache
def compile_loop(halting: HaltingConfig, mesh: Mesh, slots: int, noisy: Noisy) -> Loop:
    """Compile the loop for a mesh with `slots` slots on each device."""

    def local_loop(weights: Weights, items: Items, limits: Limits) -> tuple[ItemAnswers, Int[Array, "1"]]:
        weights = varying(weights)
        count, seq_len = items.inputs.shape
        initial = weights.model.initial_latents((slots, seq_len))
        unanswered = ItemAnswers(
            jnp.zeros((count, seq_len), jnp.int32),
            jnp.full(count, -jnp.inf, jnp.float32),
            jnp.zeros(count, jnp.int32),
            jnp.zeros(count, bool),
        )
        held, steps = jnp.full(slots, count, jnp.int32), jnp.zeros(slots, jnp.int32)
        # These constants become different on each device in the loop.
        held, steps, unanswered, iterations = varying((held, steps, unanswered, jnp.zeros(1, jnp.int32)))
        start = _LoopState(items.waiting, held, initial, steps, unanswered, iterations)

        def refine(state: _LoopState) -> _LoopState:
            return _step(weights, halting, noisy, items, limits, _refill(state, initial, noisy, items, limits))

        end = jax.lax.while_loop(lambda state: (state.held < count).any() | state.waiting.any(), refine, start)
        return end.answered, end.iterations

    return jax.jit(
        jax.shard_map(local_loop, mesh=mesh, in_specs=(REPLICATED, SPLIT, REPLICATED), out_specs=SPLIT),
        out_shardings=NamedSharding(mesh, SPLIT),
    )


def latent_names(z: Latents) -> list[str]:
    """List the names of a recursion's latents, in their order."""
    return [field.name for field in dataclasses.fields(z)]


def begin_latents(
    initial: Latents, keys: Key[Array, " slots"], sigma: Float[Array, "..."], noisy: tuple[str, ...]
) -> Latents:
    """Return the latents that sequences begin with: the initial ones, with noise on those named in `noisy`."""
    if not noisy:
        return initial
    # 0xFFFFFFFF is the number of no supervision step.
    return add_noise(initial, jax.vmap(partial(jax.random.fold_in, data=0xFFFFFFFF))(keys), sigma, noisy)


def _refill(state: _LoopState, initial: Latents, noisy: Noisy, items: Items, limits: Limits) -> _LoopState:
    """Give the n-th empty slot the n-th waiting item."""
    count, slots = len(state.waiting), len(state.held)
    free = state.held == count
    (queue,) = jnp.nonzero(state.waiting, size=slots, fill_value=count)
    held = jnp.where(free, queue[jnp.maximum(jnp.cumsum(free) - 1, 0)], state.held)
    keys = jax.random.wrap_key_data(items.keys[jnp.minimum(held, count - 1)])
    begin = begin_latents(initial, keys, limits.start_noise, noisy.start)
    return state._replace(
        waiting=state.waiting.at[held].set(False, mode="drop"),
        held=held,
        latents=select(free, begin, state.latents),
        steps=jnp.where(free, 0, state.steps),
    )


def _step(
    weights: Weights,
    halting: HaltingConfig,
    noisy: Noisy,
    items: Items,
    limits: Limits,
    state: _LoopState,
) -> _LoopState:
    """Make a supervision step on all slots and store the answers of the items that are done."""
    count = len(state.waiting)
    occupied = state.held < count
    # An empty slot computes on the last item; nothing of that is stored.
    held = jnp.minimum(state.held, count - 1)
    keys = jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(items.keys[held]), state.steps)
    latents = add_noise(state.latents, keys, limits.noise, noisy.steps)
    rows = weights.puzzle_table[items.puzzle_identifiers[held]]
    latents, outputs = weights.model(items.inputs[held], rows, latents)

    steps = state.steps + 1
    halted = occupied & limits.adaptive & wants_to_halt(outputs, halting)
    puzzles = items.puzzles[held]
    solved = limits.stop_at_first & jnp.zeros(count, bool).at[puzzles].max(halted)
    done = occupied & (halted | (steps >= limits.max_steps) | solved[puzzles])
    written = jnp.where(done, state.held, count)
    answered = jax.tree.map(
        lambda old, new: old.at[written].set(new, mode="drop"),
        state.answered,
        ItemAnswers(outputs.predictions, outputs.q_halt_logits, steps, halted),
    )
    return _LoopState(
        waiting=state.waiting & ~solved[items.puzzles],
        held=jnp.where(done, count, state.held),
        latents=latents,
        steps=steps,
        answered=answered,
        iterations=state.iterations + 1,
    )


def add_noise(z: Latents, keys: Key[Array, " slots"], sigma: Float[Array, "..."], noisy: tuple[str, ...]) -> Latents:
    """Add noise of standard deviation `sigma`, one or one per slot, to the named latents, one key for each slot."""

    def disturb(number: int, latent: Float[Array, "slots *shape"]) -> Float[Array, "slots *shape"]:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), latent.shape[1:]))(keys)
        scale = jnp.broadcast_to(sigma.reshape(-1, *[1] * (latent.ndim - 1)), latent.shape)
        return (latent.astype(jnp.float32) + scale * noise).astype(latent.dtype)

    # A latent's number is its place among all latents: the noise on one does not depend on which others get noise.
    names = enumerate(latent_names(z))
    return dataclasses.replace(z, **{name: disturb(i, getattr(z, name)) for i, name in names if name in noisy})
