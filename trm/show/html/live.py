"""Live pages: a person types a Sudoku or draws a maze, and the network solves it. Entry: `make_live_page`.

The page is that of the player with `live.html` above the boards. Its network runs in a worker (`network.js`,
`thinker.js`), or the page asks a server (`trm.show.server`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.show.html.embedded import KINDS, embed_network
from trm.show.html.page import fill, make_page, read
from trm.solving.options import GUESSES
from trm.solving.trained_model import TrainedModel
from trm.solving.views import most_views

MOST_ATTEMPTS = 16
MOST_STEPS = 128
ATTEMPTS_IN_ALL = 512
"""Most attempts at one puzzle on a live page, with guesses."""
STEPS = 16
"""Default for the maximum number of supervision steps."""
EXAMPLES = 8
"""Number of generated puzzles on a page without examples."""
START = """
const pageData = JSON.parse(document.getElementById("data").textContent);
startLive(pageData, startPlayer({{ ...pageData, steps: 0, most: 0, puzzles: [] }}), {asker});"""
_HELP = {
    "sudoku": "Choose a cell and type, or paste a Sudoku, row by row.",
    "maze": "Choose wall, free, start or goal and draw, or paste a maze, row by row.",
}
_GUESSES = '<label for="guesses">Attempt again with guesses until solved</label><input id="guesses" type="checkbox">'


def make_live_page(
    title: str,
    model: TrainedModel,
    examples: Sequence[Integer[np.ndarray, " seq_len"]] = (),
    embed: bool = True,
    steps: int | None = None,
    attempts: int = 1,
    seed: int = 0,
) -> str:
    """Return a page with an editor of puzzles of the model's kind and size; without `examples` some are generated.

    With `embed` the network is in the page. Raises InputError for a model that a page cannot run.
    """
    check_limits(steps, attempts)
    kind = model.kind.name
    if kind not in KINDS:
        raise InputError(f"{model.name}: found a model of {kind}, expected one of {' or '.join(KINDS)}")
    metadata = model.metadata
    views = most_views(metadata, MOST_ATTEMPTS, seed)
    questions = examples or _generate(kind, math.isqrt(metadata.seq_len), seed)
    data: dict[str, Any] = {
        "picture": model.kind.picture(metadata.seq_len, metadata.vocab_size)._asdict(),
        "kind": kind,
        "cells": metadata.seq_len,
        "cycles": max(1, model.config.model.H_cycles),
        "views": [
            {"cells": cells.tolist(), "tokens": tokens.tolist()}
            for cells, tokens in zip(views.cells, views.tokens, strict=True)
        ],
        "examples": [question.tolist() for question in questions],
        "steps": steps or max(STEPS, model.config.halting.halt_max_steps),
        "attempts": attempts,
        "most_steps": MOST_STEPS,
        "most_attempts": MOST_ATTEMPTS,
        "attempts_in_all": ATTEMPTS_IN_ALL,
        "guesses": GUESSES,
        "network": None,
    }
    if embed:
        data |= {"network": embed_network(model), "worker": read("rules.js", "network.js", "thinker.js")}
    where = "in this page; nothing leaves it" if embed else "on the machine that serves this page"
    has_letters = kind == "sudoku" and metadata.vocab_size > 11
    help_line = _HELP[kind] + (" Letters from a on are 10 and more." if has_letters else "")
    digits = model.kind.has_digits
    parts = {"help": help_line, "brushes": "Digit" if digits else "Brush", "guesses": _GUESSES if digits else ""}
    return make_page(
        title,
        f"The network runs {where}.",
        data,
        read("player.js", "rules.js", "live.js", "editor.js") + START.format(asker="makeBoards"),
        read("player.css", "live.css"),
        fill("live.html", parts),
        " 'wasm-unsafe-eval'; worker-src blob:" if embed else "; connect-src 'self'",
    )


def check_limits(steps: int | None, attempts: int) -> None:
    """Raise InputError for more steps or attempts than a live page allows."""
    if (steps or 1) > MOST_STEPS:
        raise InputError(f"steps: found {steps}, expected at most {MOST_STEPS} on a live page")
    if attempts > MOST_ATTEMPTS:
        raise InputError(f"views: found {attempts}, expected at most {MOST_ATTEMPTS} on a live page")


def _generate(kind: str, side: int, seed: int) -> list[Integer[np.ndarray, " seq_len"]]:
    generator = maze_generator if kind == "maze" else sudoku_generator
    if side not in generator.SIZES:
        return []
    first_token = 0 if kind == "maze" else TOKEN_OF_DIGIT_0
    return [puzzle.question.ravel() + first_token for puzzle in generator.generate_many(side, EXAMPLES, seed)]
