"""Options of the solver: supervision steps, noise, candidates, and how one answer is chosen. Entry: `SolverOptions`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict, get_args

import numpy as np
from jaxtyping import Num

from trm.errors import InputError
from trm.puzzles.kinds.kind import PuzzleKind
from trm.solving.selection import SelectionMethod

NoiseOn = Literal["z_H", "z_L", "both"]
NoiseAt = Literal["steps", "start", "both"]


@dataclasses.dataclass(frozen=True)
class SolverOptions:
    """Options of the solver, the same for each puzzle."""

    max_steps: int | None = None
    """Largest number of supervision steps of a candidate; None: the configuration's `halt_max_steps`."""
    adaptive: bool = True
    """Whether the halting head may stop a candidate earlier."""
    noise: float = 0.0
    """Standard deviation of the noise that is added to latents."""
    noise_on: NoiseOn = "z_H"
    """Latents that get the noise: the answer z_H, the reasoning z_L (all its parts), or both."""
    noise_at: NoiseAt = "steps"
    """When the noise is added: before every supervision step, to the latents that a candidate starts with, or both."""
    rollouts: int = 1
    """Candidates for each view of a puzzle. They differ by their noise."""
    stop_at_first: bool = False
    """Whether all candidates of a puzzle stop when the halting head stops one of them. Which one that is depends on the
    number of slots, because the candidates do not all start together."""
    selection: SelectionMethod = "confident"
    """Method of selecting one answer among the candidates."""
    guesses: int | None = None
    """Cells that an attempt from the third round on takes from an earlier answer as given, in puzzles with digits;
    None: `GUESSES` there."""
    seed: int = 0
    """Seed of the noise, the views and the guesses."""

    def __post_init__(self):
        for name, smallest in (("max_steps", 1), ("rollouts", 1), ("noise", 0), ("guesses", 0), ("seed", 0)):
            found = getattr(self, name)
            if found is not None and not smallest <= found < 2**31:
                raise InputError(f"{name}: found {found}, expected {smallest} or more, less than 2**31")
        choices = {"noise_on": NoiseOn, "noise_at": NoiseAt, "selection": SelectionMethod}
        for name, literal in choices.items():
            if (found := getattr(self, name)) not in get_args(literal):
                raise InputError(f"{name}: found {found!r}, expected one of {', '.join(get_args(literal))}")
        if self.rollouts > 1 and not self.noise:
            raise InputError(
                f"rollouts: found {self.rollouts} with noise 0, expected 1: without noise all are the same"
            )
        if self.stop_at_first and not (self.adaptive and self.selection == "first"):
            raise InputError("stop_at_first: found true, expected it with adaptive and the selection 'first' only")

    @property
    def start_noise(self) -> float:
        """Standard deviation of the noise on the latents that a candidate starts with."""
        return 0.0 if self.noise_at == "steps" else self.noise

    @property
    def step_noise(self) -> float:
        """Standard deviation of the noise before every supervision step."""
        return 0.0 if self.noise_at == "start" else self.noise


class SolveOptions(TypedDict, total=False):
    """Options of `TrainedModel.solve`, for type checkers."""

    attempts: int | None
    seconds: float | None
    guesses: int | None
    views: int | None
    rollouts: int
    noise: float
    noise_on: NoiseOn
    noise_at: NoiseAt
    steps: int | None
    halt: bool
    select: SelectionMethod | None
    seed: int
    identifiers: int | Sequence[int] | Num[np.ndarray, "..."] | None
    devices: int | None
    on_progress: Callable[..., None] | None


ATTEMPTS = 64
"""Default of the largest number of attempts at a puzzle."""
ATTEMPTS_WITH_GUESSES = 512
"""The same with guesses, which make many attempts worth their time."""
GROWTH = 8
"""Factor by which the attempts at a puzzle grow from round to round."""
FIRST_GUESSING = GROWTH
"""Number of the first attempt with guesses, from 0: that of the third round."""
GUESSES = 3
"""Default of the cells that an attempt guesses, in puzzles with digits."""


def choose_attempts(
    attempts: int | None,
    seconds: float | None,
    views: int | None,
    rollouts: int,
    select: SelectionMethod | None,
    kind: PuzzleKind,
    guesses: int | None = None,
) -> int | None:
    """Return the largest number of attempts at a puzzle until the rules hold; None: its candidates are fixed.

    They are fixed too for a kind without rules. Raises InputError for arguments that contradict each other.
    """
    has_rules = kind.solved_from == "text"
    given = {"views": views is not None, "rollouts": rollouts > 1, "select": select not in (None, "rules")}
    fixed = [name for name, found in given.items() if found]
    for name, found in (("attempts", attempts), ("seconds", seconds), ("guesses", guesses)):
        if found is None:
            continue
        if not has_rules:
            raise InputError(f"{name}: found {found}, expected none: the rules of the puzzles are not known")
        if fixed:
            raise InputError(f"{name}: found {found} together with {fixed[0]}, expected one of them")
        if not found > 0 and name != "guesses":
            raise InputError(f"{name}: found {found}, expected more than 0")
    if fixed or not has_rules:
        return None
    return attempts or (ATTEMPTS_WITH_GUESSES if choose_guesses(guesses, kind) else ATTEMPTS)


def choose_guesses(guesses: int | None, kind: PuzzleKind) -> int:
    """Return the cells that an attempt guesses; raise InputError for guesses in puzzles of a kind without digits."""
    if guesses and not kind.has_digits:
        raise InputError(f"guesses: found {guesses}, expected 0: puzzles of kind {kind.name} have no digits")
    return (GUESSES if guesses is None else guesses) if kind.has_digits else 0


def make_options(
    *,
    steps: int | None = None,
    halt: bool = True,
    views: int = 1,
    rollouts: int = 1,
    noise: float = 0.0,
    noise_on: NoiseOn = "z_H",
    noise_at: NoiseAt = "steps",
    select: SelectionMethod | None = None,
    guesses: int | None = None,
    seed: int = 0,
) -> SolverOptions:
    """Return the solver's options for a user's arguments.

    The selection "first" stops the other candidates of a puzzle, where it has several. Raises InputError for arguments
    that contradict each other.
    """
    for name, found, default in (("noise_on", noise_on, "z_H"), ("noise_at", noise_at, "steps")):
        if found != default and not noise:
            raise InputError(f"{name}: found {found!r} with noise 0, expected a noise above 0")
    return SolverOptions(
        max_steps=steps,
        adaptive=halt,
        noise=noise,
        noise_on=noise_on,
        noise_at=noise_at,
        rollouts=rollouts,
        stop_at_first=select == "first" and halt and views * rollouts > 1,
        selection=select or "confident",
        guesses=guesses,
        seed=seed,
    )
