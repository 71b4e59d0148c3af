"""Layout of drawings in the terminal. Entry: `side_by_side`, `draw_changes`, `draw_reasoning`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Integer
from rich.table import Table
from rich.text import Text

from trm.puzzles.kinds.kind import PuzzleKind

Tokens = Integer[np.ndarray, " seq_len"]

GAP = 3
"""Columns between drawings side by side."""


def draw_changes(
    puzzle: Text, boards: Integer[np.ndarray, "steps *board"], drawings: Sequence[Text], width: int
) -> Table:
    """Lay out a puzzle and the boards that a supervision step changed, side by side.

    As many boards as fit into `width` columns are shown, at least two with the puzzle.
    """
    changed = [0, *(i for i in range(1, len(boards)) if (boards[i] != boards[i - 1]).any())]
    most = max(2, (width + GAP) // (_columns(puzzle) + GAP) - 1)
    # The first changes, and the last one.
    shown = changed if len(changed) <= most else [*changed[: most - 1], changed[-1]]
    return side_by_side({"puzzle": puzzle} | {f"step {i + 1}": drawings[i] for i in shown}, width)


def draw_reasoning(
    kind: PuzzleKind, question: Tokens, answers: Integer[np.ndarray, "steps seq_len"], truth: Tokens, width: int
) -> Table:
    """Draw a puzzle and the answer after each supervision step that changed it; mark cells unlike the truth."""
    drawings = []
    for answer in answers:
        wrong = int((answer != truth).sum())
        verdict = (f"{wrong} wrong", "bold red") if wrong else ("solved", "green")
        drawings.append(Text.assemble(kind.draw(question, answer, truth), "\n", verdict))
    return draw_changes(kind.draw(question, question), answers, drawings, width)


def draw_example(kind: PuzzleKind, question: Tokens, answer: Tokens) -> dict[str, Text]:
    """Draw the first example of a puzzle set; nothing if its kind has no drawing."""
    if kind.solved_from == "nothing":
        return {}
    return {"first puzzle": kind.draw(question, question), "answer": kind.draw(question, answer)}


def side_by_side(drawings: Mapping[str, Text], width: int) -> Table:
    """Lay drawings out in a row under their titles, or one below the other if a row is wider than `width`."""
    grid = Table.grid(padding=(0, GAP))
    titles = [Text(title, "underline") for title in drawings]
    needed = sum(max(len(title), _columns(drawing)) for title, drawing in drawings.items())
    if needed + GAP * (len(drawings) - 1) <= width:
        grid.add_row(*titles)
        grid.add_row(*drawings.values())
        return grid
    # A drawing wider than the console is cropped: its rows must not wrap.
    grid.add_column(no_wrap=True, overflow="crop")
    for title, drawing in zip(titles, drawings.values(), strict=True):
        grid.add_row(title)
        grid.add_row(drawing)
    return grid


def _columns(drawing: Text) -> int:
    return max(map(len, drawing.plain.split("\n")))
