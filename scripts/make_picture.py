"""The animation at the top of README.md: a hard Sudoku while the network solves it.

`python scripts/make_picture.py` writes scripts/pictures/solving.svg, with bundled weights and a bundled puzzle. It is
an animated SVG: sharp at every size, and light or dark as the reader's browser is. Readers who prefer reduced motion
see the solved board.
"""

from pathlib import Path

import numpy as np
import typer

import trm
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.puzzles.kinds.sudoku.text import read_table
from trm.solving.attempt_traces import PuzzleTrace, trace_puzzles
from trm.storage.files import atomic_write

PICTURE = Path(__file__).parent / "pictures" / "solving.svg"
PUZZLES = 200
"""Bundled test puzzles among which the picture's is chosen: the one that is solved with most wrong steps before."""
CELL, MARGIN, CAPTION = 36, 8, 44
FRAME_SECONDS, LAST_SECONDS = 0.6, 3.0
STYLE = """
svg { --paper: #fff; --ink: #1d1d1f; --answer: #1f5fd0; --wrong: #c4231c;
  --good: #147a3d; --line: #c9c8c4; --strong: #45454a }
@media (prefers-color-scheme: dark) { svg { --paper: #1f1f23; --ink: #ececef; --answer: #7eaaff; --wrong: #ff7a70;
  --good: #5fd68a; --line: #45454d; --strong: #a9a9b2 } }
text { font: 20px system-ui, sans-serif; text-anchor: middle; fill: var(--answer) }
.given text { font-weight: 700; fill: var(--ink) } .w { fill: var(--wrong) } rect { fill: var(--answer) }
.w + rect { fill: var(--wrong) } .caption { font-size: 16px; text-anchor: start; fill: var(--ink) }
.caption.solved { fill: var(--good); font-weight: 700 } .paper { fill: var(--paper) }
path { fill: none; stroke: var(--line) } .strong { stroke: var(--strong); stroke-width: 2 }
"""


def main() -> None:
    """Trace the puzzle that the network corrects most often before it is right, and draw it."""
    model = trm.load("sudoku").in_fast_dtype()
    table = read_table(bundled_csv("sudoku-9x9-test.csv.gz"))
    questions, truths = (boards[:PUZZLES].reshape(-1, 81) + TOKEN_OF_DIGIT_0 for boards in table[:2])
    answers = np.asarray(model.reason(questions).outputs.predictions)
    wrong = (answers != truths).sum(axis=-1)
    steps_wrong = np.where(wrong[-1] == 0, (wrong > 0).sum(axis=0), -1)
    chosen = [int(steps_wrong.argmax())]
    (puzzle,) = trace_puzzles(model, questions[chosen].astype(np.int32), truths=list(truths[chosen]))
    with atomic_write(PICTURE) as temporary:
        temporary.write_text(draw(puzzle), encoding="utf-8")


def draw(puzzle: PuzzleTrace) -> str:
    """Draw the puzzle, then the answer after every H cycle until the step that solves it."""
    attempt = puzzle.attempts[0]
    last = attempt.solved_after or len(attempt.predictions)
    cycles = attempt.predictions.shape[1]
    frames = [_frame("", "the puzzle")]
    for step in range(last):
        for cycle in range(cycles):
            wrong = attempt.wrong[step, cycle]
            verdict = f"{int(wrong.sum())} wrong" if wrong.any() else "solved"
            caption = f"step {step + 1} of {len(attempt.predictions)}, H cycle {cycle + 1}: {verdict}"
            cells = _answers(puzzle, attempt.predictions[step, cycle], attempt.confidence[step, cycle], wrong)
            frames.append(_frame(cells, caption, not wrong.any()))
    width = 9 * CELL + 2 * MARGIN
    height = width + CAPTION - MARGIN
    given = "".join(
        _text(cell, puzzle.question[cell]) for cell in range(81) if puzzle.question[cell] > TOKEN_OF_DIGIT_0
    )
    thin, thick = (_lines([i for i in range(10) if (i % 3 == 0) == strong]) for strong in (False, True))
    shown = "".join(f'<g class="frame" id="f{i}">{frame}</g>' for i, frame in enumerate(frames))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="A hard Sudoku while the network solves it, in {last} supervision steps">'
        f'<style>{STYLE}{_timing(len(frames))}</style><rect class="paper" width="{width}" height="{height}"/>\n'
        f'{shown}\n<g class="given">{given}</g><path d="{thin}"/><path class="strong" d="{thick}"/></svg>\n'
    )


def _timing(frames: int) -> str:
    """Return the style that shows one frame after another, the last one for longer."""
    total = FRAME_SECONDS * (frames - 1) + LAST_SECONDS
    rules = [f".frame {{ opacity: 0; animation: {total:g}s step-end infinite }}"]
    for i in range(frames):
        begin, end = (100 * FRAME_SECONDS * k / total for k in (i, i + 1))
        after = "" if i == frames - 1 else f"{end:.2f}% {{ opacity: 0 }}"
        before = "" if i == 0 else "0% { opacity: 0 } "
        rules.append(
            f"#f{i} {{ animation-name: k{i} }} @keyframes k{i} {{ {before}{begin:.2f}% {{ opacity: 1 }} {after} }}"
        )
    rules.append(
        f"@media (prefers-reduced-motion: reduce) {{ .frame {{ animation: none }} #f{frames - 1} {{ opacity: 1 }} }}"
    )
    return "\n".join(rules)


def _frame(cells: str, caption: str, solved: bool = False) -> str:
    name = "caption solved" if solved else "caption"
    return f'{cells}<text class="{name}" x="{MARGIN}" y="{9 * CELL + MARGIN + 27}">{caption}</text>'


def _answers(puzzle: PuzzleTrace, tokens: np.ndarray, confidence: np.ndarray, wrong: np.ndarray) -> str:
    """Draw the cells that were not given: digit, red where it is wrong, and the network's confidence as shade."""
    parts = []
    for cell in np.flatnonzero(puzzle.question <= TOKEN_OF_DIGIT_0).tolist():
        x, y = _corner(cell)
        parts.append(_text(cell, tokens[cell], ' class="w"' if wrong[cell] else ""))
        shade = 0.26 * float(confidence[cell])
        parts.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill-opacity="{shade:.2f}"/>')
    return "".join(parts)


def _text(cell: int, token: int, attributes: str = "") -> str:
    x, y = _corner(cell)
    digit = int(token) - TOKEN_OF_DIGIT_0
    return f'<text{attributes} x="{x + CELL // 2}" y="{y + 25}">{digit if digit > 0 else ""}</text>'


def _corner(cell: int) -> tuple[int, int]:
    return MARGIN + cell % 9 * CELL, MARGIN + cell // 9 * CELL


def _lines(places: list[int]) -> str:
    side = 9 * CELL
    across = "".join(f"M{MARGIN} {MARGIN + i * CELL}h{side}" for i in places)
    return across + "".join(f"M{MARGIN + i * CELL} {MARGIN}v{side}" for i in places)


if __name__ == "__main__":
    typer.run(main)
