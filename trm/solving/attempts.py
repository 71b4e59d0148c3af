"""Attempts: reason about a puzzle again until its answer obeys the rules. Entry: `AttemptSolver`.

Attempt 0 sees the puzzle as it is, without noise. Each further attempt sees the puzzle through another symmetry or,
when there are no more, begins from latents with noise. In a puzzle with digits, attempts from the third round on also
take some cells of an earlier answer as given (`trm.solving.guesses`). Every answer is checked by the rules of the
puzzle as it was asked, after every supervision step. The first answer that obeys them wins, and the other attempts at
the puzzle leave their slots at once. Labels are not used.

The attempts of a puzzle run side by side, in growing rounds: the first attempt at all puzzles; then, at unsolved
puzzles, the attempts up to 8, up to 64, and so on. A stalled attempt does not recover with more steps; a new attempt
often succeeds.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Integer, UInt32

from trm.configuration.schema import Config
from trm.model.recursions import Latents
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT, fetch, place, place_whole
from trm.parallel.processes import decide_on_first
from trm.puzzles.kinds.kind import PuzzleKind
from trm.solving.guesses import Guesses
from trm.solving.one_step import Sequences, compile_step
from trm.solving.options import ATTEMPTS, FIRST_GUESSING, GROWTH, SolverOptions, choose_guesses
from trm.solving.reason import check_inputs, confidence
from trm.solving.slots import Noisy
from trm.solving.solve import noise_keys, noisy_latents
from trm.solving.views import Views

START_NOISE = 1.0
"""Standard deviation of the noise on the first latents of attempts beyond the number of symmetries."""


@dataclasses.dataclass
class Attempted:
    """One answer for each puzzle after some rounds, on the host."""

    answers: Integer[np.ndarray, "puzzles seq_len"]
    obeys: Bool[np.ndarray, " puzzles"]
    """Whether the answer obeys the rules; if not, it is the most confident of all attempts."""
    q_halt_logits: Float[np.ndarray, " puzzles"]
    halted: Bool[np.ndarray, " puzzles"]
    """Whether the halting head stopped the attempt that gave the answer."""
    attempts: Integer[np.ndarray, " puzzles"]
    """Attempts that were started."""
    steps: Integer[np.ndarray, " puzzles"]
    """Supervision steps of all attempts."""
    guesses: Integer[np.ndarray, " puzzles"]
    """Cells that the attempt that gave the answer took from an earlier answer."""

    @property
    def confidence(self) -> Float[np.ndarray, " puzzles"]:
        """sigmoid(q_halt) of each answer."""
        return confidence(self.q_halt_logits)

    @classmethod
    def none(cls, puzzles: int, seq_len: int) -> "Attempted":
        """Return the state before the first round."""
        numbers = np.zeros(puzzles, np.int64)
        answers, no = np.zeros((puzzles, seq_len), np.int32), np.zeros(puzzles, bool)
        return cls(
            answers, no, np.full(puzzles, -np.inf, np.float32), no.copy(), numbers, numbers.copy(), numbers.copy()
        )


@dataclasses.dataclass(frozen=True)
class Round:
    """The state after a round."""

    limit: int
    """Attempts that each unsolved puzzle has had by now."""
    found: Attempted


class AttemptSolver:
    """A model that attempts puzzles again until the rules hold."""

    def __init__(
        self,
        weights: Weights,
        config: Config,
        mesh: Mesh,
        options: SolverOptions,
        slots: int,
        views: Views,
        kind: PuzzleKind,
        attempts: int = ATTEMPTS,
    ):
        """Place the weights on the devices and prepare the step.

        `attempts` is the largest number of attempts at a puzzle, `slots` the largest number of sequences that all
        devices together refine at a time.

        `views` are the symmetries of attempts 0, 1 and so on; the first is the identity. Later attempts have noise on
        the first latents; with `options.noise` all attempts but the first have that noise. `kind` has the rules.

        Raises InputError for noise on latents that the recursion does not have, and for guesses in puzzles of a kind
        without digits.
        """
        self._weights, self._mesh, self._options, self._slots = place(weights, mesh, REPLICATED), mesh, options, slots
        self._views, self._kind, self._attempts = views, kind, attempts
        guesses = choose_guesses(options.guesses, kind)
        self._guesses = guesses if attempts > FIRST_GUESSING else 0
        self._max_steps = options.max_steps or config.halting.halt_max_steps
        self._start_noise, self._step_noise = _noise_of_attempts(options, attempts, len(views.cells))
        names: tuple[str, ...] = ()
        if self._start_noise.any() or self._step_noise.any():
            noise_on = options.noise_on if options.noise else "both"
            names = noisy_latents(weights.model.recursion, dataclasses.replace(options, noise=1.0, noise_on=noise_on))
        self._noisy = Noisy(names if self._start_noise.any() else (), names if self._step_noise.any() else ())
        self._step = compile_step(config.halting, mesh, self._noisy)

    def rounds(
        self,
        inputs: Integer[np.ndarray, "puzzles seq_len"],
        puzzle_identifiers: Integer[np.ndarray, " puzzles"],
        seconds: float | None = None,
        on_progress: Callable[[int, Attempted], None] | None = None,
    ) -> Iterator[Round]:
        """Attempt puzzles round by round until the rules hold for all, or attempts or seconds are used up.

        The limit `seconds` does not apply to the first round. `on_progress` is called after every supervision step with
        the attempts of the current round and what is found so far. Later rounds change the yielded state; copy what you
        keep. With several processes each passes all puzzles. Raises InputError for tokens and identifiers out of range.
        """
        check_inputs(self._weights, inputs, puzzle_identifiers)
        deadline = None if seconds is None else time.monotonic() + seconds
        guesses = Guesses(self._kind, inputs, self._guesses, self._options.seed)
        puzzles = _Puzzles(inputs, puzzle_identifiers, Attempted.none(*inputs.shape), guesses)
        for begin, end in itertools.pairwise([0, *round_limits(self._attempts)]):
            if begin and (puzzles.found.obeys.all() or _is_over(deadline)):
                return
            self._run(puzzles, begin, end, deadline if begin else None, on_progress)
            yield Round(end, puzzles.found)

    def _run(
        self,
        puzzles: "_Puzzles",
        begin: int,
        end: int,
        deadline: float | None,
        on_progress: Callable[[int, Attempted], None] | None,
    ) -> None:
        """Make the attempts `begin` to `end` at every puzzle that is not solved."""
        inputs, puzzle_identifiers, found, guesses = puzzles
        unsolved = np.flatnonzero(~found.obeys)
        waiting = itertools.product(range(begin, end), unsolved.tolist())
        keys = self._keys(inputs[unsolved], puzzle_identifiers[unsolved], np.arange(begin, end))
        place_of = np.zeros(len(inputs), int)
        place_of[unsolved] = np.arange(len(unsolved))
        size = _round_up(min(self._slots, len(unsolved) * (end - begin)), self._mesh.size)
        latents = self._empty_latents(size, inputs.shape[1])
        empty = -1
        puzzle, attempt, steps = np.full(size, empty), np.full(size, begin), np.zeros(size, np.int32)
        given, guessed = np.zeros((size, inputs.shape[1]), inputs.dtype), np.zeros(size, int)
        before = begin if begin >= FIRST_GUESSING else 0
        while True:
            for slot in np.flatnonzero(puzzle == empty):
                item = next((item for item in waiting if not found.obeys[item[1]]), None)
                if item is None:
                    break
                attempt[slot], puzzle[slot] = item
                given[slot], guessed[slot] = guesses.give(item[1], item[0], before)
                steps[slot] = 0
                found.attempts[puzzle[slot]] += 1
            held = np.flatnonzero(puzzle != empty)
            if not len(held):
                return
            view = attempt % len(self._views.cells)
            seen, identifiers = np.zeros((size, inputs.shape[1]), np.int32), np.zeros(size, np.int32)
            seen[held] = self._views.apply_each(given[held], view[held])
            identifiers[held] = puzzle_identifiers[puzzle[held]]
            noise = self._start_noise[attempt], self._step_noise[attempt]
            arrays = seen, identifiers, keys[place_of[puzzle], attempt - begin], steps, *noise
            sequences = Sequences(*place_whole(arrays, self._mesh, SPLIT))
            latents, answered = self._step(self._weights, latents, sequences)
            tokens, q_halt_logits, halts = (array[held] for array in fetch(answered))
            steps[held] += 1
            np.add.at(found.steps, puzzle[held], 1)
            halted = halts & self._options.adaptive
            is_over = _is_over(deadline)
            ended = halted | (steps[held] >= self._max_steps) | is_over
            answers = self._views.undo_each(tokens, view[held])
            self._judge(puzzles, puzzle[held], attempt[held], guessed[held], answers, q_halt_logits, halted, ended)
            guesses.keep(puzzle[held][ended], attempt[held][ended], answers[ended])
            puzzle[held[ended | found.obeys[puzzle[held]]]] = empty
            if on_progress:
                on_progress(end, found)
            if is_over:
                return

    def _judge(
        self,
        puzzles: "_Puzzles",
        puzzle: Integer[np.ndarray, " sequences"],
        attempt: Integer[np.ndarray, " sequences"],
        guessed: Integer[np.ndarray, " sequences"],
        answers: Integer[np.ndarray, "sequences seq_len"],
        q_halt_logits: Float[np.ndarray, " sequences"],
        halted: Bool[np.ndarray, " sequences"],
        ended: Bool[np.ndarray, " sequences"],
    ) -> None:
        """Take for each puzzle the first answer that obeys the rules; until there is one, the most confident."""
        found = puzzles.found
        obeys = self._kind.solved(puzzles.inputs[puzzle], answers)
        for i in np.lexsort([attempt, puzzle]):
            at = puzzle[i]
            if not found.obeys[at] and (obeys[i] or (ended[i] and q_halt_logits[i] > found.q_halt_logits[at])):
                found.answers[at], found.obeys[at] = answers[i], obeys[i]
                found.q_halt_logits[at], found.halted[at] = q_halt_logits[i], halted[i]
                found.guesses[at] = guessed[i]

    def _keys(
        self,
        inputs: Integer[np.ndarray, "puzzles seq_len"],
        puzzle_identifiers: Integer[np.ndarray, " puzzles"],
        attempts: Integer[np.ndarray, " attempts"],
    ) -> UInt32[np.ndarray, "puzzles attempts words"]:
        """Return the data of a random key for each attempt; zeros where there is no noise."""
        if not any(self._noisy):
            return np.zeros((len(inputs), len(attempts), 2), np.uint32)
        return noise_keys(self._options.seed, inputs, puzzle_identifiers, attempts)

    def _empty_latents(self, slots: int, seq_len: int) -> Latents:
        """Return latents for slots that hold nothing yet."""
        like = jax.eval_shape(lambda: self._weights.model.initial_latents((slots, seq_len)))
        return place_whole(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like), self._mesh, SPLIT)


class _Puzzles(NamedTuple):
    """Puzzles that are attempted together, and their answers so far."""

    inputs: Integer[np.ndarray, "puzzles seq_len"]
    puzzle_identifiers: Integer[np.ndarray, " puzzles"]
    found: Attempted
    guesses: Guesses


def round_limits(attempts: int) -> list[int]:
    """Return the attempts that a puzzle has had after each round: 1, 8, 64 and so on, up to `attempts`."""
    limits = [1]
    while limits[-1] < attempts:
        limits.append(min(attempts, GROWTH * limits[-1]))
    return limits


def _noise_of_attempts(
    options: SolverOptions, attempts: int, views: int
) -> tuple[Float[np.ndarray, " attempts"], Float[np.ndarray, " attempts"]]:
    """Return the noise of each attempt: on the first latents, and before every step."""
    start, step = np.zeros(attempts, np.float32), np.zeros(attempts, np.float32)
    if options.noise:
        start[1:], step[1:] = options.start_noise, options.step_noise
    else:
        start[views:] = START_NOISE
    return start, step


def _round_up(sequences: int, devices: int) -> int:
    """Round up to a power of two on each device: every other number would need a compilation."""
    return devices << (-(-sequences // devices) - 1).bit_length()


def _is_over(deadline: float | None) -> bool:
    """Tell whether the time is up, by the clock of process 0: all processes take the same steps."""
    return deadline is not None and decide_on_first(lambda: time.monotonic() >= deadline)
