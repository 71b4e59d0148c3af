"""Guesses: cells that an attempt takes from an earlier, wrong answer as given. Entry: `Guesses`.

With right guesses an attempt has an easier puzzle; an answer that keeps a wrong guess breaks the rules. The answer is
judged as an answer to the puzzle as it was asked.
"""

import zlib

import numpy as np
from jaxtyping import Integer

from trm.model.digits import BLANK
from trm.puzzles.kinds.kind import PuzzleKind

SOURCES = 64
"""Attempts at a puzzle whose answers are kept: with more than the first eight about as many puzzles are solved."""


class Guesses:
    """Wrong answers to puzzles, and puzzles in which some cells of these answers are given.

    The guesses of an attempt depend on the puzzle, the seed, the number of the attempt and the answers of earlier
    rounds, and not on the order in which attempts end.
    """

    def __init__(self, kind: PuzzleKind, questions: Integer[np.ndarray, "puzzles seq_len"], cells: int, seed: int):
        """Begin without answers; `cells` is the number of guesses in an attempt."""
        self._kind, self._questions, self._cells, self._seed = kind, questions, cells, seed
        self._sources: list[dict[int, Integer[np.ndarray, " seq_len"]]] = [{} for _ in questions]

    def keep(
        self,
        puzzle: Integer[np.ndarray, " attempts"],
        attempt: Integer[np.ndarray, " attempts"],
        answers: Integer[np.ndarray, "attempts seq_len"],
    ) -> None:
        """Keep the answers of attempts that ended, by the numbers of puzzle and attempt."""
        kept = (attempt < SOURCES) & (self._cells > 0)
        puzzle, attempt, answers = puzzle[kept], attempt[kept], answers[kept]
        if not len(puzzle):
            return
        questions = self._questions[puzzle]
        answers = np.where(questions == BLANK, answers, questions)
        wrong = self._kind.wrong_cells(questions, answers)
        # Cells that `wrong_cells` does not mark contradict neither a clue nor each other.
        offered = np.where((questions == BLANK) & (answers > BLANK) & ~wrong, answers, 0).astype(questions.dtype)
        for i, (at, number) in enumerate(zip(puzzle.tolist(), attempt.tolist(), strict=True)):
            self._sources[at][number] = offered[i]

    def give(self, puzzle: int, attempt: int, before: int) -> tuple[Integer[np.ndarray, " seq_len"], int]:
        """Return a puzzle with cells given as in one of the answers before attempt `before`, and their number."""
        question = self._questions[puzzle]
        sources = [offered for number, offered in sorted(self._sources[puzzle].items()) if number < before]
        if not sources:
            return question, 0
        rng = np.random.default_rng([self._seed, zlib.crc32(question.astype("<i4").tobytes()), attempt])
        offered = sources[rng.integers(len(sources))]
        cells = rng.permutation(np.flatnonzero(offered))[: self._cells]
        given = question.copy()
        given[cells] = offered[cells]
        return given, len(cells)
