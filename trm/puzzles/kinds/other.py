"""The kind of puzzles of which only the tokens are known. Entry: `Other`."""

from typing import final

import numpy as np
from jaxtyping import Bool, Integer
from rich.text import Text

from trm.errors import InputError
from trm.puzzles.kinds.kind import PuzzleKind, Tokens


@final
class Other(PuzzleKind):
    """Puzzles without rules, text or drawing; every answer in the vocabulary counts as well-formed."""

    name = "other"
    # Not checked: Sudokus of a size that the program does not know are of this kind.
    has_digits = True
    solved_from = "nothing"
    augments_online = False

    def fits(self, vocab_size: int, seq_len: int) -> bool:
        return True

    def parse(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        raise InputError(f"{where}: found a puzzle as text, expected a puzzle set: its kind has no text")

    def solved(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, " puzzles"]:
        return np.ones(len(questions), dtype=bool)

    @property
    def verdict(self) -> str:
        return "all lie in the vocabulary"

    def draw(
        self,
        question: Integer[np.ndarray, " seq_len"],
        answer: Integer[np.ndarray, " seq_len"],
        truth: Integer[np.ndarray, " seq_len"] | None = None,
    ) -> Text:
        return Text(" ".join(map(str, answer.tolist())))
