"""The Sudoku kind. Entry: `Sudoku`."""

import math
from collections.abc import Mapping
from typing import final

import numpy as np
from jaxtyping import Bool, Integer
from rich.text import Text

from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.kind import Picture, Problem, PuzzleKind, Question, Tokens
from trm.puzzles.kinds.sudoku.draw import draw_sudoku
from trm.puzzles.kinds.sudoku.problems import find_problem
from trm.puzzles.kinds.sudoku.rules import SIDES, TOKEN_OF_DIGIT_0, Board, Boards, box_shape, find_wrong, obeys_rules
from trm.puzzles.kinds.sudoku.symmetries import (
    SudokuSymmetries,
    canonical_forms,
    draw_on_tokens,
    draw_symmetries,
    on_tokens,
)
from trm.puzzles.kinds.sudoku.text import DIGITS, format_board, parse_board, read_sudokus
from trm.puzzles.kinds.symmetries import Symmetries


@final
class Sudoku(PuzzleKind):
    """Sudokus of 4x4 to 10x10, 12x12 and 16x16 cells: token 1 is a blank, 2 and above are digits."""

    name = "sudoku"
    characters = DIGITS
    has_digits = True
    expected = "a solved Sudoku that keeps every clue"

    def vocab_size(self, seq_len: int) -> int | None:
        side = math.isqrt(seq_len)
        return side + 2 if side * side == seq_len and side in SIDES else None

    def parse(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        return parse_board(text, where).ravel() + TOKEN_OF_DIGIT_0

    def parse_answer(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        return self.parse(text, where)

    def read(
        self, text: str, where: str, seq_len: int | None = None, columns: Mapping[str, str] | None = None
    ) -> list[Question]:
        found = read_sudokus(text, where, math.isqrt(seq_len) if seq_len else None, columns)
        return [Question(puzzle.where, puzzle.question.ravel() + TOKEN_OF_DIGIT_0) for puzzle in found]

    def format(self, tokens: Integer[np.ndarray, " seq_len"]) -> str:
        # A network may answer with padding, which is not a digit.
        return format_board(np.maximum(_board(tokens), 0))

    def problem(self, question: Integer[np.ndarray, " seq_len"]) -> Problem | None:
        """Return equal digits in a unit, or what the exact solver finds within a second: no solution, or several."""
        return find_problem(_board(question))

    def solved(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, " puzzles"]:
        boards = _boards(questions), _boards(answers)
        return (boards[0] >= 0).all(axis=(1, 2)) & obeys_rules(*boards)

    def wrong_cells(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, "puzzles seq_len"]:
        return find_wrong(_boards(questions), _boards(answers)).reshape(answers.shape)

    def symmetries(self, rng: np.random.Generator, count: int, seq_len: int) -> Symmetries:
        return draw_on_tokens(rng, count, math.isqrt(seq_len))

    def draw_augmentation(self, arrays: PuzzleArrays, rng: np.random.Generator, batch: int) -> SudokuSymmetries | None:
        # A few numbers for each board: a host that loads some of a batch works out the cells of these alone.
        return draw_symmetries(rng, batch, math.isqrt(arrays.inputs.shape[1])) if arrays.online_augmentation else None

    def augment(
        self,
        inputs: Tokens,
        labels: Tokens,
        arrays: PuzzleArrays,
        examples: Integer[np.ndarray, " puzzles"],
        puzzles: Integer[np.ndarray, " puzzles"],
        draws: SudokuSymmetries | None,
    ) -> tuple[Tokens, Tokens]:
        if draws is None:
            return inputs, labels
        symmetries = on_tokens(draws)
        return symmetries.apply(inputs), symmetries.apply(labels)

    def canonical(self, questions: Tokens) -> Tokens:
        """Return the canonical form of each question; of many, or large ones, up to some of the symmetries."""
        return canonical_forms(_boards(questions)).reshape(questions.shape)

    def draw(
        self,
        question: Integer[np.ndarray, " seq_len"],
        answer: Integer[np.ndarray, " seq_len"],
        truth: Integer[np.ndarray, " seq_len"] | None = None,
    ) -> Text:
        return draw_sudoku(_board(question), _board(answer), None if truth is None else _board(truth))

    def picture(self, seq_len: int, vocab_size: int) -> Picture:
        side = math.isqrt(seq_len)
        digits = tuple(str(digit) for digit in range(1, side + 1))
        return Picture(side, ("?", "", *digits), ("padding", "blank", *digits), box=box_shape(side), open=(1,))


def _digits(tokens: Integer[np.ndarray, "*shape"]) -> Integer[np.ndarray, "*shape"]:
    return tokens.astype(np.int64) - TOKEN_OF_DIGIT_0


def _board(tokens: Integer[np.ndarray, " seq_len"]) -> Board:
    side = math.isqrt(len(tokens))
    return _digits(tokens).reshape(side, side)


def _boards(tokens: Tokens) -> Boards:
    side = math.isqrt(tokens.shape[1])
    return _digits(tokens).reshape(-1, side, side)
