"""The maze kind. Entry: `Maze`."""

import math
from collections.abc import Mapping
from typing import final

import numpy as np
from jaxtyping import Bool, Integer
from rich.text import Text

from trm.errors import InputError
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.kinds.kind import Picture, Problem, PuzzleKind, Question, Tokens
from trm.puzzles.kinds.maze.draw import draw_maze
from trm.puzzles.kinds.maze.rules import (
    FREE,
    MAZE_CHARACTERS,
    SMALLEST,
    Boards,
    count_moves,
    find_wrong,
    is_shortest_path,
)
from trm.puzzles.kinds.maze.text import QUESTION_CHARACTERS, parse_maze, read_mazes
from trm.puzzles.kinds.symmetries import Symmetries, dihedral_symmetries, least_rows


@final
class Maze(PuzzleKind):
    """Mazes of 5x5 cells and more."""

    name = "maze"
    characters = MAZE_CHARACTERS
    question_characters = QUESTION_CHARACTERS
    expected = "a shortest path from S to G on free cells"
    # A rotated answer is a shortest path, but seldom the one that the rule for labels chooses.
    augments_online = False

    def vocab_size(self, seq_len: int) -> int | None:
        side = math.isqrt(seq_len)
        return super().vocab_size(seq_len) if side * side == seq_len and side >= SMALLEST else None

    def parse(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        return parse_maze(text, where).ravel()

    def read(
        self, text: str, where: str, seq_len: int | None = None, columns: Mapping[str, str] | None = None
    ) -> list[Question]:
        found = read_mazes(text, where, math.isqrt(seq_len) if seq_len else None, columns)
        return [Question(maze.where, maze.question.ravel()) for maze in found]

    def problem(self, question: Integer[np.ndarray, " seq_len"]) -> Problem | None:
        """Return a problem where there is no way from start to goal."""
        reachable = count_moves(_boards(question[None]))[0] > 0
        return None if reachable else Problem("no way from S to G: walls separate them", hopeless=True)

    def solved(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, " puzzles"]:
        return is_shortest_path(_boards(questions), _boards(answers))

    def wrong_cells(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, "puzzles seq_len"]:
        return find_wrong(_boards(questions), _boards(answers)).reshape(answers.shape)

    def metrics(self, questions: Tokens, answers: Tokens) -> Mapping[str, Bool[np.ndarray, " puzzles"]]:
        """Return whether each answer is some shortest path, the label or another."""
        return {"shortest_path_accuracy": self.solved(questions, answers)}

    def symmetries(self, rng: np.random.Generator, count: int, seq_len: int) -> Symmetries:
        return self._dihedral(rng.integers(TRANSFORMS, size=count), seq_len)

    def most_views(self, seq_len: int) -> int:
        return TRANSFORMS

    def views(self, count: int, seq_len: int, vocab_size: int, seed: int) -> Symmetries:
        """Return the first rotations and reflections."""
        if not 1 <= count <= TRANSFORMS:
            raise InputError(f"views: found {count}, expected 1 to {TRANSFORMS} (puzzles of kind 'maze')")
        return self._dihedral(np.arange(count), seq_len)

    def canonical(self, questions: Tokens) -> Tokens:
        """Return the least of the eight rotations and reflections."""
        boards = _boards(questions)
        every = np.stack([transform(boards, t).reshape(questions.shape) for t in range(TRANSFORMS)], axis=1)
        return least_rows(every)

    def draw(
        self,
        question: Integer[np.ndarray, " seq_len"],
        answer: Integer[np.ndarray, " seq_len"],
        truth: Integer[np.ndarray, " seq_len"] | None = None,
    ) -> Text:
        return draw_maze(_boards(answer[None])[0])

    def picture(self, seq_len: int, vocab_size: int) -> Picture:
        classes = ("padding", "wall", "free", "start", "goal", "path")
        return Picture(math.isqrt(seq_len), ("?", "", "", "S", "G", ""), classes, classes, open=(FREE,))

    def _dihedral(self, transforms: Integer[np.ndarray, " symmetries"], seq_len: int) -> Symmetries:
        return dihedral_symmetries(transforms, seq_len, len(self.characters) + 1)


def _boards(tokens: Tokens) -> Boards:
    side = math.isqrt(tokens.shape[1])
    return tokens.reshape(-1, side, side)
