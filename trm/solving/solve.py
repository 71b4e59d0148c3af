"""The solver: one answer for each puzzle, chosen among several candidates.

The candidates of a puzzle are its views under symmetries (`trm.solving.views`), each with one or more rollouts, which
differ by noise on the latents (arXiv 2605.19943). The loop on the devices (`trm.solving.slots`) answers them, and
`trm.solving.selection` chooses among the answers.

    puzzles → candidates = rollouts x views → a share for each device → slots → candidates → views undone → answers

Entry: `solve`; `solve_candidates` for the answers of all candidates.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Bool, Float, Integer, UInt32

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.recursions import Recursion
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT, fetch, place_array
from trm.solving.options import SolverOptions
from trm.solving.reason import check_inputs, confidence
from trm.solving.selection import choose_answers
from trm.solving.slots import Items, Limits, Noisy, compile_loop, latent_names
from trm.solving.views import Views

Rules = Callable[[Integer[np.ndarray, "answers seq_len"], Integer[np.ndarray, "answers seq_len"]], np.ndarray]
"""The rules of a kind of puzzles: whether each answer solves its question (`PuzzleKind.solved`)."""


class Candidates(NamedTuple):
    """The answers of all candidates, on the host: rollout by rollout, and in each rollout view by view."""

    answers: Integer[np.ndarray, "puzzles candidates seq_len"]
    q_halt_logits: Float[np.ndarray, "puzzles candidates"]
    """Minus infinity for a candidate that never started."""
    steps: Integer[np.ndarray, "puzzles candidates"]
    """Supervision steps of each candidate."""
    halted: Bool[np.ndarray, "puzzles candidates"]
    """Whether the halting head stopped the candidate."""


class Solutions(NamedTuple):
    """One answer for each puzzle, on the host."""

    answers: Integer[np.ndarray, "puzzles seq_len"]
    q_halt_logits: Float[np.ndarray, " puzzles"]
    """Of the chosen candidate; of a vote, that of the candidate nearest to the answer."""
    halted: Bool[np.ndarray, " puzzles"]
    """Whether the halting head stopped that candidate."""
    steps: Integer[np.ndarray, "puzzles candidates"]
    """Supervision steps of each candidate."""
    iterations: Integer[np.ndarray, " devices"]
    """Supervision steps that each device made on all its slots."""

    @property
    def confidence(self) -> Float[np.ndarray, " puzzles"]:
        """sigmoid(q_halt) of each answer."""
        return confidence(self.q_halt_logits)

    @property
    def total_steps(self) -> Integer[np.ndarray, " puzzles"]:
        """Supervision steps of all candidates of a puzzle."""
        return self.steps.sum(axis=1)


def solve(
    weights: Weights,
    config: Config,
    mesh: Mesh,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    options: SolverOptions,
    slots: int,
    views: Views | None = None,
    rules: Rules | None = None,
) -> Solutions:
    """Answer puzzles: `solve_candidates`, then choose one answer for each; the selection "rules" needs `rules`."""
    candidates, iterations = solve_candidates(weights, config, mesh, inputs, puzzle_identifiers, options, slots, views)
    obeys = None
    if rules and options.selection == "rules":
        obeys = judge_candidates(rules, inputs, candidates.answers)
    answers, chosen = choose_answers(options.selection, *candidates, obeys)
    at = (np.arange(len(answers)), chosen)
    return Solutions(answers, candidates.q_halt_logits[at], candidates.halted[at], candidates.steps, iterations)


def solve_candidates(
    weights: Weights,
    config: Config,
    mesh: Mesh,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    options: SolverOptions,
    slots: int,
    views: Views | None = None,
) -> tuple[Candidates, Integer[np.ndarray, " devices"]]:
    """Return the answers of all candidates, views undone, and the iterations of each device.

    The devices refine `slots` sequences at a time, all together. A program is compiled for each number of slots, of
    candidates, of puzzles rounded up to a power of two, and each choice of latents for noise; other options need no
    compilation. With several processes each passes all puzzles.

    Raises InputError for no puzzles, tokens or identifiers out of range, slots that the devices cannot share, and noise
    on latents that the recursion does not have.
    """
    puzzles, seq_len = inputs.shape
    if not puzzles:
        raise InputError("inputs: found no puzzles, expected at least one")
    check_inputs(weights, inputs, puzzle_identifiers)
    if slots < 1 or slots % mesh.size:
        raise InputError(f"slots: found {slots}, expected a multiple of {mesh.size} devices")
    if views is not None and views.cells.shape[1] != seq_len:
        raise InputError(f"views: found {views.cells.shape[1]} cells, expected {seq_len}, as the puzzles have")
    names = noisy_latents(weights.model.recursion, options)
    noisy = Noisy(names if options.start_noise else (), names if options.step_noise else ())
    seen = inputs[:, None] if views is None else views.apply(inputs)
    candidates = options.rollouts * seen.shape[1]
    # Padding costs nothing, whereas every other number of puzzles would need a compilation.
    share = 1 << (-(-puzzles // mesh.size) - 1).bit_length()

    def share_out(array: np.ndarray) -> jax.Array:
        """Distribute (puzzles, candidates, ...): puzzles to devices in turn, first candidates before second ones.

        The candidates of a puzzle are then on one device, and with `stop_at_first` most of them need not start.
        """
        padded = np.pad(array, [(0, share * mesh.size - puzzles)] + [(0, 0)] * (array.ndim - 1))
        shared = padded.reshape(share, mesh.size, *array.shape[1:])
        shared = np.moveaxis(shared, 0, 2).reshape(-1, *array.shape[2:])
        return jax.make_array_from_callback(shared.shape, NamedSharding(mesh, SPLIT), lambda part: shared[part])

    def collect(shared: np.ndarray) -> np.ndarray:
        array = shared.reshape(mesh.size, candidates, share, *shared.shape[1:])
        return np.moveaxis(array, 2, 0).reshape(-1, candidates, *shared.shape[1:])[:puzzles]

    items = Items(
        share_out(np.tile(seen, (1, options.rollouts, 1)).astype(np.int32)),
        share_out(np.tile(puzzle_identifiers[:, None].astype(np.int32), candidates)),
        share_out(np.tile(np.arange(puzzles, dtype=np.int32)[:, None] // mesh.size, candidates)),
        share_out(noise_keys(options.seed, inputs, puzzle_identifiers, np.arange(candidates))),
        share_out(np.ones((puzzles, candidates), bool)),
    )
    max_steps = options.max_steps or config.halting.halt_max_steps
    numbers = (
        np.int32(max_steps),
        np.bool(options.adaptive),
        np.bool(options.stop_at_first),
        np.float32(options.start_noise),
        np.float32(options.step_noise),
    )
    limits = Limits(*(place_array(np.asarray(number), mesh, REPLICATED) for number in numbers))
    # Slots beyond the number of items would compute for nothing.
    run = compile_loop(config.halting, mesh, min(slots // mesh.size, share * candidates), noisy)
    weights = jax.device_put(weights, NamedSharding(mesh, REPLICATED))
    shared, iterations = fetch(run(weights, items, limits))
    found = Candidates(*map(collect, shared))
    if views is not None:
        by_rollout = found.answers.reshape(puzzles, options.rollouts, -1, seq_len)
        found = found._replace(answers=views.undo(by_rollout).reshape(puzzles, candidates, seq_len))
    return found, iterations


def judge_candidates(
    rules: Rules,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    answers: Integer[np.ndarray, "puzzles candidates seq_len"],
) -> Bool[np.ndarray, "puzzles candidates"]:
    """Return for every candidate whether its answer solves its puzzle by the rules."""
    puzzles, candidates, seq_len = answers.shape
    return rules(np.repeat(inputs, candidates, axis=0), answers.reshape(-1, seq_len)).reshape(puzzles, candidates)


def noisy_latents(recursion: Recursion, options: SolverOptions) -> tuple[str, ...]:
    """Name the latents of a recursion that get noise; raise InputError where it has none of those asked for."""
    if not options.noise:
        return ()
    names = tuple(latent_names(recursion.initial))
    reasoning = recursion.reasoning_latents
    answer = tuple(name for name in names if name not in reasoning)
    noisy = {"z_H": answer, "z_L": reasoning, "both": names}[options.noise_on]
    if not noisy:
        raise InputError(
            f"noise_on: found {options.noise_on!r}, expected 'both' or a latent of the recursion: {', '.join(names)}"
        )
    return noisy


def noise_keys(
    seed: int,
    inputs: Integer[np.ndarray, "puzzles seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " puzzles"],
    candidates: Integer[np.ndarray, " candidates"],
) -> UInt32[np.ndarray, "puzzles candidates words"]:
    """Return the data of a key for each candidate, by number. A key depends on the puzzle, not on its place."""
    rows = np.column_stack([puzzle_identifiers, inputs]).astype("<i4")
    puzzles = np.array([zlib.crc32(row.tobytes()) for row in rows], np.uint32)
    numbers = candidates.astype(np.uint32)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), puzzles)
    return np.asarray(jax.random.key_data(fold(keys, numbers)))
