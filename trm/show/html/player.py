"""The player: a page that plays how a network reasons about puzzles. Entry: `make_player`.

The page is `player.html` with `player.css`, `player.js` and the traces in it. It loads nothing.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from trm.puzzles.kinds.kind import Picture
from trm.show.html.page import make_page, read
from trm.solving.attempt_traces import AttemptTrace, PuzzleTrace

START = '\nstartPlayer(JSON.parse(document.getElementById("data").textContent));'


def make_player(title: str, picture: Picture, names: Sequence[str], puzzles: Sequence[PuzzleTrace]) -> str:
    """Return the page; `names` are those of the puzzles. All attempts have equal numbers of steps and H cycles."""
    described = [_describe(name, puzzle) for name, puzzle in zip(names, puzzles, strict=True)]
    steps, cycles = puzzles[0].attempts[0].q_halt.shape
    data = {"picture": picture._asdict(), "steps": steps, "cycles": cycles, "puzzles": described}
    attempts = len(puzzles[0].attempts)
    each = f" with {attempts} attempts each" if attempts > 1 else ""
    intro = (
        f"{_count(len(puzzles), 'puzzle')}{each}, {_count(steps, 'supervision step')} of {_count(cycles, 'H cycle')}."
    )
    return make_page(title, intro, data, read("player.js") + START, read("player.css"))


def _describe(name: str, puzzle: PuzzleTrace) -> dict[str, Any]:
    return {
        "name": name,
        "question": puzzle.question.tolist(),
        "truth": None if puzzle.truth is None else puzzle.truth.tolist(),
        "winner": puzzle.winner,
        "attempts": [_describe_attempt(attempt) for attempt in puzzle.attempts],
    }


def _describe_attempt(attempt: AttemptTrace) -> dict[str, Any]:
    """Return an attempt with its arrays as bytes in base64: frame after frame, a frame being an H cycle of a step."""
    return {
        "tokens": _encode(attempt.predictions.astype("<u2")),
        "confidence": _encode(np.rint(attempt.confidence * 255).astype(np.uint8)),
        "wrong": _encode(attempt.wrong.astype(np.uint8)),
        "solved": None if attempt.solved is None else attempt.solved.ravel().tolist(),
        "q_halt": attempt.q_halt.astype(float).round(4).ravel().tolist(),
        "way": attempt.way,
        "halting_step": attempt.halting_step,
        "solved_after": attempt.solved_after,
    }


def _encode(array: Shaped[np.ndarray, "..."]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
