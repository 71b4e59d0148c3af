"""The rules of live pages compared with those of the puzzle kinds."""

from typing import Any

import numpy as np
import pytest
from networks import script

from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku import generate as sudoku_generator

pytestmark = [pytest.mark.browser, pytest.mark.processes]
JUDGE = """
const { judge, problem } = RULES[argument.kind](argument.picture);
return argument.pairs.map(([question, answer]) => {
  const { wrong, solved } = judge(question, answer);
  return [Array.from(wrong), solved, problem(question) !== null];
});
"""


def draw_pairs(kind: str, side: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return questions with right answers, and with answers that are wrong in a few cells, in many, or all over."""
    generator = maze_generator if kind == "maze" else sudoku_generator
    first, vocab_size = (0, 6) if kind == "maze" else (1, side + 2)
    pairs = []
    for puzzle in generator.generate_many(side, 4, seed=1):
        question, answer = (board.ravel() + first for board in (puzzle.question, puzzle.answer))
        pairs.append((question, answer))
        for share in (0.02, 0.1, 0.5, 1.0):
            for _ in range(6):
                changed = rng.random(len(answer)) < share
                noise = rng.integers(0, vocab_size, len(answer))
                pairs.append((question, np.where(changed, noise, answer)))
        pairs.append((np.roll(question, 1), answer))
        # Two neighbouring cells are swapped: the row still has all digits.
        swapped = answer.copy()
        swapped[[0, 1]] = swapped[[1, 0]]
        pairs.append((question, swapped))
    return pairs


@pytest.mark.parametrize(("kind", "side"), [("sudoku", 4), ("sudoku", 6), ("sudoku", 9), ("maze", 5), ("maze", 9)])
def test_pages_judge_as_the_kinds_do(browser: Any, kind: str, side: int):
    pairs = draw_pairs(kind, side, np.random.default_rng(0))
    questions, answers = (np.stack(boards) for boards in zip(*pairs, strict=True))
    rules = KINDS[kind]
    picture = rules.picture(side * side, 6 if kind == "maze" else side + 2)
    argument = {"kind": kind, "picture": picture._asdict(), "pairs": [[q.tolist(), a.tolist()] for q, a in pairs]}
    context = browser.new_context()
    found = context.new_page().evaluate(script(["rules.js"], JUDGE), argument)
    context.close()
    wrong, solved, problem = (np.array(column) for column in zip(*found, strict=True))
    np.testing.assert_array_equal(wrong.astype(bool), rules.wrong_cells(questions, answers))
    np.testing.assert_array_equal(solved, rules.solved(questions, answers))
    assert 4 <= solved.sum() < len(solved)
    if kind == "maze":
        np.testing.assert_array_equal(problem, [rules.problem(question) is not None for question in questions])
    assert not problem[solved].any()
