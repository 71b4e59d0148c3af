"""The solver: what enters are weights and puzzles, what leaves is one answer per puzzle.

Puzzles need different numbers of supervision steps. A batch that runs them all to the end spends most of its time on
those that were done long ago; here a puzzle leaves its slot when the halting head stops it, and the next one takes the
slot, in one compiled loop. What this saves can be spent on several candidates per puzzle: the puzzle seen through
symmetries (`trm.solving.views`), and rollouts that differ by noise on the latents (arXiv 2605.19943).
`trm.solving.selection` chooses among their answers.

    puzzles → candidates = rollouts x views → a share for each device → slots → candidates → views undone → answers
"""

import dataclasses
import zlib
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt32

from trm.configuration.schema import Config, HaltingConfig
from trm.errors import InputError
from trm.model.recursions import Latents, Recursion
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT, fetch, place_array, varying
from trm.solving import selection
from trm.solving.reason import confidence
from trm.solving.selection import Method
from trm.solving.views import Views
from trm.supervision.carry import select
from trm.supervision.halting import wants_to_halt

NoiseOn = Literal["z_H", "z_L", "both"]


@dataclasses.dataclass(frozen=True)
class Thinking:
    """How much a puzzle is thought about, and which answer is taken."""

    max_steps: int | None = None
    """Supervision steps that a candidate may have; unset: the configuration's `halt_max_steps`."""
    adaptive: bool = True
    """Whether the halting head may stop a candidate before that."""
    noise: float = 0.0
    """Standard deviation of what is added to latents before every supervision step."""
    noise_on: NoiseOn = "z_H"
    """Which latents: the answer z_H, the reasoning z_L (all its parts), or both."""
    rollouts: int = 1
    """Candidates with different noise for each view of a puzzle."""
    first: bool = False
    """Whether all candidates of a puzzle stop as soon as the halting head stops one. Which one that is depends on the
    number of slots, for not all begin at once."""
    selection: Method = "confident"
    """How one answer is chosen among the candidates."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self):
        for name, smallest in (("max_steps", 1), ("rollouts", 1), ("noise", 0), ("seed", 0)):
            found = getattr(self, name)
            if found is not None and not smallest <= found < 2**31:
                raise InputError(f"{name}: found {found}, expected {smallest} or more, less than 2**31")
        if self.noise_on not in get_args(NoiseOn):
            raise InputError(f"noise_on: found {self.noise_on!r}, expected one of {', '.join(get_args(NoiseOn))}")
        if self.selection not in get_args(Method):
            methods = ", ".join(get_args(Method))
            raise InputError(f"selection: found {self.selection!r}, expected one of {methods}")
        if self.rollouts > 1 and not self.noise:
            raise InputError(f"rollouts: found {self.rollouts} with noise 0, expected 1, for all would be the same")
        if self.first and not (self.adaptive and self.selection == "first"):
            raise InputError("first: found true, expected it with adaptive and the selection 'first' alone")


class Candidates(NamedTuple):
    """What was answered to each puzzle, on the host: the views of each rollout in turn."""

    answers: Integer[np.ndarray, "puzzles candidates seq_len"]
    q_halt_logits: Float[np.ndarray, "puzzles candidates"]
    """How sure the network was; minus infinity for a candidate that never began."""
    steps: Integer[np.ndarray, "puzzles candidates"]
    halted: Bool[np.ndarray, "puzzles candidates"]
    """Whether the halting head stopped it; with `adaptive` off, and where another candidate was first, it did not."""


class Solutions(NamedTuple):
    """One answer per puzzle, on the host."""

    answers: Integer[np.ndarray, "puzzles seq_len"]
    q_halt_logits: Float[np.ndarray, " puzzles"]
    """Of the candidate that was chosen, of a vote of the one nearest to it."""
    halted: Bool[np.ndarray, " puzzles"]
    """Whether the halting head stopped that candidate."""
    steps: Integer[np.ndarray, "puzzles candidates"]
    """Supervision steps that each candidate had."""
    iterations: Integer[np.ndarray, " devices"]
    """Supervision steps that each device ran on all its slots."""

    @property
    def confidence(self) -> Float[np.ndarray, " puzzles"]:
        """How sure the network is of each answer."""
        return confidence(self.q_halt_logits)

    @property
    def total_steps(self) -> Integer[np.ndarray, " puzzles"]:
        """What each puzzle cost."""
        return self.steps.sum(axis=1)


# On the host


def solve(
    weights: Weights,
    config: Config,
    mesh: Mesh,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    thinking: Thinking,
    slots: int,
    views: Views | None = None,
) -> Solutions:
    """Answer puzzles: `think`, then choose."""
    candidates, iterations = think(weights, config, mesh, inputs, puzzle_identifiers, thinking, slots, views)
    answers, chosen = selection.select(thinking.selection, *candidates)
    at = (np.arange(len(answers)), chosen)
    return Solutions(answers, candidates.q_halt_logits[at], candidates.halted[at], candidates.steps, iterations)


def think(
    weights: Weights,
    config: Config,
    mesh: Mesh,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    thinking: Thinking,
    slots: int,
    views: Views | None = None,
) -> tuple[Candidates, Integer[np.ndarray, " devices"]]:
    """Return the answers of all candidates, views undone, and the iterations of each device.

    `slots` sequences are refined at a time, over all devices. A program is compiled for every number of slots, of
    candidates, of puzzles rounded up to a power of two, and choice of latents for noise; other options do not matter to
    it. With several processes each passes all puzzles.
    Raises InputError for no puzzles, for slots that the devices cannot share, and for noise on latents that the
    recursion does not have.
    """
    puzzles, seq_len = inputs.shape
    if not puzzles:
        raise InputError("inputs: found no puzzles, expected at least one")
    if slots < 1 or slots % mesh.size:
        raise InputError(f"slots: found {slots}, expected a multiple of {mesh.size} devices")
    if views is not None and views.cells.shape[1] != seq_len:
        raise InputError(f"views: found {views.cells.shape[1]} cells, expected {seq_len}, as the puzzles have")
    noisy = noisy_latents(weights.model.recursion, thinking)
    seen = inputs[:, None] if views is None else views.apply(inputs)
    candidates = thinking.rollouts * seen.shape[1]
    # Places that no puzzle takes cost nothing; a program for each number of puzzles would cost its compilation.
    share = 1 << (-(-puzzles // mesh.size) - 1).bit_length()

    def deal(array: np.ndarray) -> jax.Array:
        """Share out (puzzles, candidates, ...): puzzles in turn, all first candidates of a device before the second.

        So the candidates of a puzzle are together, and with `first` most of them need not begin.
        """
        padded = np.pad(array, [(0, share * mesh.size - puzzles)] + [(0, 0)] * (array.ndim - 1))
        dealt = padded.reshape(share, mesh.size, *array.shape[1:])
        dealt = np.moveaxis(dealt, 0, 2).reshape(-1, *array.shape[2:])
        return jax.make_array_from_callback(dealt.shape, NamedSharding(mesh, SPLIT), lambda part: dealt[part])

    def collect(dealt: np.ndarray) -> np.ndarray:
        array = dealt.reshape(mesh.size, candidates, share, *dealt.shape[1:])
        return np.moveaxis(array, 2, 0).reshape(-1, candidates, *dealt.shape[1:])[:puzzles]

    items = _Items(
        deal(np.tile(seen, (1, thinking.rollouts, 1)).astype(np.int32)),
        deal(np.tile(puzzle_identifiers[:, None].astype(np.int32), candidates)),
        deal(np.tile(np.arange(puzzles, dtype=np.int32)[:, None] // mesh.size, candidates)),
        deal(_noise_keys(thinking.seed, inputs, puzzle_identifiers, candidates)),
        deal(np.ones((puzzles, candidates), bool)),
    )
    max_steps = thinking.max_steps or config.halting.halt_max_steps
    options = (np.int32(max_steps), np.bool(thinking.adaptive), np.bool(thinking.first), np.float32(thinking.noise))
    limits = _Limits(*(place_array(np.asarray(option), mesh, REPLICATED) for option in options))
    # A slot that no item can ever take would be refined in vain.
    run = _compile(config.halting, mesh, min(slots // mesh.size, share * candidates), noisy)
    weights = jax.device_put(weights, NamedSharding(mesh, REPLICATED))
    dealt, iterations = fetch(run(weights, items, limits))
    answered = Candidates(*map(collect, dealt))
    if views is not None:
        by_rollout = answered.answers.reshape(puzzles, thinking.rollouts, -1, seq_len)
        answered = answered._replace(answers=views.undo(by_rollout).reshape(puzzles, candidates, seq_len))
    return answered, iterations


def noisy_latents(recursion: Recursion, thinking: Thinking) -> tuple[str, ...]:
    """Name those of a recursion's latents that noise is added to; raise InputError where there are none such."""
    if not thinking.noise:
        return ()
    names = tuple(_latent_names(recursion.initial))
    reasoning = recursion.reasoning_latents
    answer = tuple(name for name in names if name not in reasoning)
    noisy = {"z_H": answer, "z_L": reasoning, "both": names}[thinking.noise_on]
    if not noisy:
        raise InputError(
            f"noise_on: found {thinking.noise_on!r}, expected 'both' or a latent there is: {', '.join(names)}"
        )
    return noisy


def _noise_keys(
    seed: int,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    candidates: int,
) -> UInt32[np.ndarray, "puzzles candidates words"]:
    """Return the data of a key for each candidate, which depends on the puzzle itself and not on its place."""
    rows = np.column_stack([puzzle_identifiers, inputs]).astype("<i4")
    puzzles = np.array([zlib.crc32(row.tobytes()) for row in rows], np.uint32)
    numbers = np.arange(candidates, dtype=np.uint32)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), puzzles)
    return np.asarray(jax.random.key_data(fold(keys, numbers)))


# On the devices


class _Items(NamedTuple):
    """The candidates of a device's puzzles."""

    inputs: Int[Array, "items seq_len"]
    puzzle_identifiers: Int[Array, " items"]
    puzzles: Int[Array, " items"]
    """Which of the device's puzzles it is about."""
    keys: UInt32[Array, "items words"]
    waiting: Bool[Array, " items"]
    """False for what only makes the shares equal."""


class _Limits(NamedTuple):
    """Options that a compiled program takes as numbers."""

    max_steps: Int[Array, ""]
    adaptive: Bool[Array, ""]
    first: Bool[Array, ""]
    noise: Float[Array, ""]


class _Answered(NamedTuple):
    """What will be the `Candidates`."""

    answers: Int[Array, "items seq_len"]
    q_halt_logits: Float[Array, " items"]
    steps: Int[Array, " items"]
    halted: Bool[Array, " items"]


class _Progress(NamedTuple):
    """Where a device is."""

    waiting: Bool[Array, " items"]
    held: Int[Array, " slots"]
    """The item in each slot; the number of items where there is none."""
    latents: Latents
    steps: Int[Array, " slots"]
    """Supervision steps that the item has had."""
    answered: _Answered
    iterations: Int[Array, "1"]


Run = Callable[[Weights, _Items, _Limits], tuple[_Answered, Int[Array, " devices"]]]


@cache
def _compile(halting: HaltingConfig, mesh: Mesh, slots: int, noisy: tuple[str, ...]) -> Run:
    """Compile the loop for a mesh, with so many slots on each device."""

    def local_run(weights: Weights, items: _Items, limits: _Limits) -> tuple[_Answered, Int[Array, "1"]]:
        weights = varying(weights)
        count, seq_len = items.inputs.shape
        initial = weights.model.initial_latents((slots, seq_len))
        unanswered = _Answered(
            jnp.zeros((count, seq_len), jnp.int32),
            jnp.full(count, -jnp.inf, jnp.float32),
            jnp.zeros(count, jnp.int32),
            jnp.zeros(count, bool),
        )
        held, steps = jnp.full(slots, count, jnp.int32), jnp.zeros(slots, jnp.int32)
        # What begins as a constant becomes each device's own in the loop.
        held, steps, unanswered, iterations = varying((held, steps, unanswered, jnp.zeros(1, jnp.int32)))
        progress = _Progress(items.waiting, held, initial, steps, unanswered, iterations)

        def refine(progress: _Progress) -> _Progress:
            return _step(weights, halting, noisy, items, limits, _refill(progress, initial))

        progress = jax.lax.while_loop(lambda p: (p.held < count).any() | p.waiting.any(), refine, progress)
        return progress.answered, progress.iterations

    return jax.jit(
        jax.shard_map(local_run, mesh=mesh, in_specs=(REPLICATED, SPLIT, REPLICATED), out_specs=SPLIT),
        out_shardings=NamedSharding(mesh, SPLIT),
    )


def _refill(progress: _Progress, initial: Latents) -> _Progress:
    """Give the n-th free slot the n-th waiting item."""
    count, slots = len(progress.waiting), len(progress.held)
    free = progress.held == count
    (queue,) = jnp.nonzero(progress.waiting, size=slots, fill_value=count)
    held = jnp.where(free, queue[jnp.maximum(jnp.cumsum(free) - 1, 0)], progress.held)
    return progress._replace(
        waiting=progress.waiting.at[held].set(False, mode="drop"),
        held=held,
        latents=select(free, initial, progress.latents),
        steps=jnp.where(free, 0, progress.steps),
    )


def _step(
    weights: Weights,
    halting: HaltingConfig,
    noisy: tuple[str, ...],
    items: _Items,
    limits: _Limits,
    progress: _Progress,
) -> _Progress:
    """Run a supervision step on all slots, and write down the answers of those that are done."""
    count = len(progress.waiting)
    occupied = progress.held < count
    # A slot without an item repeats the last one's puzzle, for nobody.
    held = jnp.minimum(progress.held, count - 1)
    keys = jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(items.keys[held]), progress.steps)
    latents = _add_noise(progress.latents, keys, limits.noise, noisy)
    rows = weights.puzzle_table[items.puzzle_identifiers[held]]
    latents, outputs = weights.model(items.inputs[held], rows, latents)

    steps = progress.steps + 1
    halted = occupied & limits.adaptive & wants_to_halt(outputs, halting)
    puzzles = items.puzzles[held]
    solved = limits.first & jnp.zeros(count, bool).at[puzzles].max(halted)
    done = occupied & (halted | (steps >= limits.max_steps) | solved[puzzles])
    written = jnp.where(done, progress.held, count)
    answered = jax.tree.map(
        lambda old, new: old.at[written].set(new, mode="drop"),
        progress.answered,
        _Answered(outputs.predictions, outputs.q_halt_logits, steps, halted),
    )
    return _Progress(
        waiting=progress.waiting & ~solved[items.puzzles],
        held=jnp.where(done, count, progress.held),
        latents=latents,
        steps=steps,
        answered=answered,
        iterations=progress.iterations + 1,
    )


def _add_noise(z: Latents, keys: Key[Array, " slots"], sigma: Float[Array, ""], noisy: tuple[str, ...]) -> Latents:
    """Add noise to some of the latents, drawn from one key per sequence."""

    def disturb(number: int, latent: Float[Array, "slots position hidden"]) -> Float[Array, "slots position hidden"]:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), latent.shape[1:]))(keys)
        return (latent.astype(jnp.float32) + sigma * noise).astype(latent.dtype)

    # Numbered by their place among all latents, so that the noise on one does not depend on that on others.
    names = enumerate(_latent_names(z))
    return dataclasses.replace(z, **{name: disturb(i, getattr(z, name)) for i, name in names if name in noisy})


def _latent_names(z: Latents) -> list[str]:
    return [field.name for field in dataclasses.fields(z)]
