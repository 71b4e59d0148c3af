"""The answer to a puzzle, as a user of the library gets it. Entry: `Answer`."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Integer

from trm.puzzles.kinds.kind import PuzzleKind


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one puzzle."""

    question: Integer[np.ndarray, " seq_len"]
    """Tokens of the puzzle."""
    tokens: Integer[np.ndarray, " seq_len"]
    """Tokens of the answer."""
    text: str | None
    """The answer as text; None for kinds of puzzles without text."""
    valid: bool | None
    """Whether the answer solves the puzzle by the rules; None for kinds of puzzles without rules."""
    confidence: float
    """sigmoid(q_halt): the network's probability that every token is right."""
    halted: bool
    """Whether the halting head stopped the candidate that gave the answer; false: the rules or the limit of supervision
    steps did."""
    steps: int
    """Supervision steps of all candidates."""
    attempts: int
    """Candidates that were started."""
    guesses: int = 0
    """Cells that the attempt that gave the answer took from an earlier answer."""


def make_answers(
    kind: PuzzleKind,
    questions: Integer[np.ndarray, "puzzles seq_len"],
    answers: Integer[np.ndarray, "puzzles seq_len"],
    valid: Bool[np.ndarray, " puzzles"] | None,
    confidence: Float[np.ndarray, " puzzles"],
    halted: Bool[np.ndarray, " puzzles"],
    steps: Integer[np.ndarray, " puzzles"],
    attempts: Integer[np.ndarray, " puzzles"],
    guesses: Integer[np.ndarray, " puzzles"] | None = None,
) -> list[Answer]:
    """Return the answers of a solver one by one; `valid` is None for kinds without rules, which have no text either."""
    return [
        Answer(
            question=questions[i],
            tokens=answers[i],
            text=None if valid is None else kind.format(answers[i]),
            valid=None if valid is None else bool(valid[i]),
            confidence=float(confidence[i]),
            halted=bool(halted[i]),
            steps=int(steps[i]),
            attempts=int(attempts[i]),
            guesses=0 if guesses is None else int(guesses[i]),
        )
        for i in range(len(questions))
    ]
