"""Selection of one answer among the candidates of each puzzle. Entry: `choose_answers`."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from trm.errors import InputError

SelectionMethod = Literal["confident", "mode", "vote", "first", "rules"]
"""Methods of selecting one answer.

confident: the answer with the highest q_halt.
mode: the most frequent whole answer; among equals the one with the most confident candidate.
vote: the most frequent token at each place; among equals the one with the highest sum of q_halt.
first: the answer that the halting head stopped after the fewest steps; among equals, or where it stopped none, the most
confident.
rules: the first answer that obeys the rules of the puzzle; where none does, the most confident.
"""


class Chosen(NamedTuple):
    """One answer for each puzzle."""

    answers: Integer[np.ndarray, "puzzles seq_len"]
    candidates: Integer[np.ndarray, " puzzles"]
    """The candidate that gave the answer; of a vote, the candidate that agrees with the answer in most places."""


def choose_answers(
    method: SelectionMethod,
    answers: Integer[np.ndarray, "puzzles candidates seq_len"],
    q_halt_logits: Float[np.ndarray, "puzzles candidates"],
    steps: Integer[np.ndarray, "puzzles candidates"],
    halted: Bool[np.ndarray, "puzzles candidates"],
    obeys: Bool[np.ndarray, "puzzles candidates"] | None = None,
) -> Chosen:
    """Choose among the candidates of each puzzle; between equals the first candidate, or the lowest token, wins.

    `steps` are the supervision steps of each candidate, `halted` says whether the halting head stopped it, `obeys`
    whether its answer obeys the rules. Raises InputError for an unknown method, and for rules that are not known.
    """
    if method == "confident":
        return _take(answers, _best(q_halt_logits))
    if method == "first":
        return _take(answers, _best(halted.astype(int), np.where(halted, -steps, 0), q_halt_logits))
    if method == "rules":
        if obeys is None:
            raise InputError("selection: found 'rules', expected another: the rules of the puzzles are not known")
        return _take(answers, _best(obeys.astype(int), np.where(obeys, 0.0, q_halt_logits)))
    if method == "mode":
        return _take(answers, _best(_frequencies(answers), q_halt_logits))
    if method == "vote":
        voted = _vote(answers, q_halt_logits)
        agreement = (answers == voted[:, None]).sum(axis=-1)
        return Chosen(voted, _best(agreement, q_halt_logits))
    raise InputError(f"selection: found {method!r}, expected confident, mode, vote, first or rules")


def _best(*scores: Num[np.ndarray, "puzzles candidates"]) -> Integer[np.ndarray, " puzzles"]:
    """Return the candidate with the highest first score, of several the one with the highest second, and so on."""
    return np.lexsort([-score for score in reversed(scores)], axis=-1)[:, 0]


def _take(
    answers: Integer[np.ndarray, "puzzles candidates seq_len"], chosen: Integer[np.ndarray, " puzzles"]
) -> Chosen:
    return Chosen(answers[np.arange(len(answers)), chosen], chosen)


def _frequencies(
    answers: Integer[np.ndarray, "puzzles candidates seq_len"],
) -> Integer[np.ndarray, "puzzles candidates"]:
    """Count the candidates of the puzzle that give the same answer, the candidate itself included."""
    puzzles, candidates, seq_len = answers.shape
    numbers = np.repeat(np.arange(puzzles), candidates)[:, None]
    rows = np.concatenate([numbers, answers.reshape(-1, seq_len)], axis=1)
    _, group, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return counts[group].reshape(puzzles, candidates)


def _vote(
    answers: Integer[np.ndarray, "puzzles candidates seq_len"], q_halt_logits: Float[np.ndarray, "puzzles candidates"]
) -> Integer[np.ndarray, "puzzles seq_len"]:
    """Return the most frequent token at each place."""
    puzzles, _, seq_len = answers.shape
    voted = np.zeros((puzzles, seq_len), answers.dtype)
    most, highest = np.zeros(voted.shape, int), np.full(voted.shape, -np.inf)
    # One token at a time: a table of the votes for all tokens at once would take too much memory.
    for token in np.unique(answers):
        has = answers == token
        votes = has.sum(axis=1)
        weight = np.where(has, q_halt_logits[:, :, None], 0.0).sum(axis=1, dtype=np.float64)
        better = (votes > most) | ((votes == most) & (weight > highest))
        voted = np.where(better, token, voted)
        most, highest = np.where(better, votes, most), np.where(better, weight, highest)
    return voted
