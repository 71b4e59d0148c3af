"""The player: a page that plays how a network reasons about puzzles. Entry: `make_player`.

The page is `player.html` with `player.css`, `player.js` and the traces put into it. It asks for nothing from anywhere.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Shaped

from trm.puzzles.kinds.kind import Picture
from trm.solving.attempt_traces import AttemptTrace, PuzzleTrace


def make_player(title: str, picture: Picture, names: Sequence[str], puzzles: Sequence[PuzzleTrace]) -> str:
    """Return the page; `names` are those of the puzzles. All attempts have as many steps and H cycles."""
    described = [_describe(name, puzzle) for name, puzzle in zip(names, puzzles, strict=True)]
    steps, cycles = puzzles[0].attempts[0].q_halt.shape
    data = {"picture": picture._asdict(), "steps": steps, "cycles": cycles, "puzzles": described}
    parts = {
        "title": html.escape(title),
        "style": _read("player.css"),
        "script": _read("player.js"),
        "data": _json_in_html(data),
    }
    # In one go: what is put in is not searched for marks.
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _read("player.html"))


def _read(name: str) -> str:
    return files("trm.show.html").joinpath(name).read_text(encoding="utf-8")


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


def _json_in_html(data: Any) -> str:
    """Return JSON in which nothing can end the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
