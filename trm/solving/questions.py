"""Puzzles put to a model, as text or arrays. Entry: `read_questions`, `questions_of`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.model.weights import Weights
from trm.puzzles.kinds.kind import Question
from trm.puzzles.kinds.registry import KINDS, kind_of
from trm.puzzles.metadata import Metadata
from trm.solving.reason import check_inputs


def questions_of(
    puzzles: Any, metadata: Metadata, weights: Weights, model: str
) -> tuple[Integer[np.ndarray, "puzzles seq_len"], bool]:
    """Return the tokens of puzzles, and whether `puzzles` is a single one, not a list of one.

    Raises InputError for text or tokens that are not puzzles of the model's kind and size.
    """
    if isinstance(puzzles, str):
        return parse_question(puzzles, "puzzle", metadata, model)[None], True
    if isinstance(puzzles, list | tuple) and all(isinstance(text, str) for text in puzzles):
        if not puzzles:
            raise InputError("puzzles: found none, expected at least one")
        return np.stack([parse_question(text, f"puzzle {i}", metadata, model) for i, text in enumerate(puzzles)]), False
    tokens, seq_len, side = np.asarray(puzzles), metadata.seq_len, metadata.side
    if tokens.shape in ((seq_len,), (side, side)):
        tokens, single = tokens.reshape(1, seq_len), True
    elif tokens.ndim >= 2 and tokens.shape[1:] in ((seq_len,), (side, side)):
        tokens, single = tokens.reshape(len(tokens), seq_len), False
    else:
        raise InputError(f"puzzles: found shape {tokens.shape}, expected ({seq_len},) or (puzzles, {seq_len})")
    # Checked before the conversion to int32, which would wrap large numbers round.
    check_inputs(weights, tokens, None)
    return tokens.astype(np.int32), single


def parse_question(text: str, where: str, metadata: Metadata, model: str) -> Integer[np.ndarray, " seq_len"]:
    """Return the tokens of one puzzle; raise InputError for several, and as `read_questions` does."""
    found = read_questions(text, where, metadata, model)
    if len(found) != 1:
        raise InputError(f"{where}: found {len(found)} puzzles, expected one")
    return found[0].tokens


def read_questions(
    text: str, where: str, metadata: Metadata, model: str, columns: Mapping[str, str] | None = None
) -> list[Question]:
    """Return the puzzles of a text, as `TrainedModel.read` does; `model` is the name of the model."""
    kind, seq_len, side = kind_of(metadata), metadata.seq_len, metadata.side
    if kind.solved_from != "text":
        known = ", ".join(name for name in KINDS.names() if KINDS[name].solved_from == "text")
        raise InputError(
            f"{model}: found a model of {kind.name}, expected one of {known}, or of your own kind: "
            "other puzzles are arrays of tokens, not text"
        )
    boards = f"{side}x{side} boards" if side else f"puzzles of {seq_len} cells"
    try:
        questions = kind.read(text, where, seq_len, columns)
    except InputError as error:
        raise InputError(f"{error} (the model was trained on {boards})") from error
    for question in questions:
        if question.tokens.size != seq_len:
            raise InputError(
                f"{question.where}: found {question.tokens.size} cells, expected {seq_len}: the model was trained "
                f"on {boards}"
            )
    return [question._replace(tokens=question.tokens.astype(np.int32)) for question in questions]


def broadcast_identifiers(identifiers: Any, puzzles: int) -> Integer[np.ndarray, " puzzles"]:
    """Return one identifier for each puzzle, the blank one for None; raise InputError for another number of them."""
    if identifiers is None:
        return np.zeros(puzzles, np.int32)
    numbers = np.asarray(identifiers)
    if numbers.shape not in ((), (puzzles,)):
        raise InputError(f"identifiers: found shape {numbers.shape}, expected () or ({puzzles},)")
    return np.broadcast_to(numbers, puzzles)
