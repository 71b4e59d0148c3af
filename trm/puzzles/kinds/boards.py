"""Puzzles as people write and see them: what enters is text, what leaves are tokens, and back.

One entry for each kind of puzzle that can be solved from text alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from rich.text import Text

from trm.puzzles.kinds.maze import boards as maze
from trm.puzzles.kinds.sudoku import boards as sudoku
from trm.puzzles.metadata import Kind
from trm.show.terminal import draw_maze, draw_sudoku

Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]
"""Of tokens."""


class BoardKind(NamedTuple):
    """What can be done with the boards of one kind of puzzle."""

    parse: Callable[[str, str], Board]
    """Reads a question; an InputError begins with the second argument."""
    write: Callable[[Board], str]
    obeys_rules: Callable[[Boards, Boards], Bool[np.ndarray, " boards"]]
    """Says of each question and answer whether it is solved."""
    draw: Callable[[Board, Board], Text]
    """Draws question and answer in one."""


def _digits(tokens: Boards | Board) -> Integer[np.ndarray, "..."]:
    """Return the digits of Sudoku tokens; padding, which is none, is a blank."""
    return np.maximum(tokens.astype(np.int64) - sudoku.TOKEN_OF_DIGIT_0, 0)


BOARDS: dict[Kind, BoardKind] = {
    "sudoku": BoardKind(
        parse=lambda text, where: sudoku.parse_board(text, where) + sudoku.TOKEN_OF_DIGIT_0,
        write=lambda board: sudoku.format_board(_digits(board)),
        obeys_rules=lambda questions, answers: sudoku.obeys_rules(_digits(questions), _digits(answers)),
        draw=lambda question, answer: draw_sudoku(_digits(question), _digits(answer)),
    ),
    "maze": BoardKind(
        parse=maze.parse_maze,
        write=maze.format_maze,
        obeys_rules=maze.is_shortest_path,
        draw=lambda question, answer: draw_maze(answer),
    ),
}
"""The kinds of puzzles that can be solved from text alone."""
