"""The picture at the top of README.md: a hard Sudoku after some of its supervision steps.

`python scripts/make_picture.py` writes scripts/pictures/solving.svg, with bundled weights and a bundled puzzle.
"""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

import trm
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.puzzles.kinds.sudoku.text import read_table
from trm.show.terminal import side_by_side
from trm.storage.files import atomic_write

PICTURE = Path(__file__).parent / "pictures" / "solving.svg"
WIDTH = 112
PUZZLES = 200
"""Bundled test puzzles among which the picture's is chosen: the one that is solved with most wrong steps before."""


def main() -> None:
    """Draw the puzzle that the network corrects most often before it is right."""
    model = trm.load("sudoku")
    table = read_table(bundled_csv("sudoku-9x9-test.csv.gz"))
    questions, truths = (boards[:PUZZLES].reshape(-1, 81) + TOKEN_OF_DIGIT_0 for boards in table[:2])
    answers = np.asarray(model.reason(questions).outputs.predictions)
    wrong = (answers != truths).sum(axis=-1)
    steps_wrong = np.where(wrong[-1] == 0, (wrong > 0).sum(axis=0), -1)
    chosen = int(steps_wrong.argmax())
    drawings = {"puzzle": model.kind.draw(questions[chosen], questions[chosen])}
    for step in (1, 2, int(steps_wrong[chosen]) + 1):
        drawing = model.kind.draw(questions[chosen], answers[step - 1, chosen], truths[chosen])
        count = int(wrong[step - 1, chosen])
        verdict = Text(f"{count} wrong", "bold red") if count else Text("solved", "green")
        drawings[f"step {step}"] = Text.assemble(drawing, "\n", verdict)
    console = Console(record=True, width=WIDTH, force_terminal=True)
    console.print(side_by_side(drawings, WIDTH), highlight=False)
    with atomic_write(PICTURE) as temporary:
        temporary.write_text(
            console.export_svg(title="a hard Sudoku, supervision step by supervision step"), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
