"""Puzzles as a user gives them: an argument, a file or standard input. Entry: `read_puzzles`."""

import os
import re
from pathlib import Path

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW, read_questions
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.metadata import Metadata
from trm.storage.files import read_standard_input


def read_puzzles(puzzle: str, metadata: Metadata, kind: PuzzleKind) -> list[tuple[str, str]]:
    """Return the text of each puzzle, with the place that it comes from; raise InputError where there is none."""
    path = Path(puzzle)
    if puzzle == "-":
        name, text = "standard input", read_standard_input()
    elif os.path.isfile(puzzle):
        if re.search(r"\.csv(\.gz)?$", puzzle, re.IGNORECASE):
            return [(f"{path}: row {i}", text) for i, text in enumerate(read_questions(path), start=FIRST_ROW)]
        name = puzzle
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{puzzle}: cannot read: {error}") from error
    elif os.path.isdir(puzzle):
        raise InputError(f"{puzzle}: found a folder, expected a puzzle or a file of them")
    elif "/" in puzzle or re.search(r"\.[a-zA-Z]\w*$", puzzle):
        # A puzzle has neither a slash nor an ending like .txt.
        raise InputError(f"{puzzle}: no such file")
    else:
        return [("puzzle", puzzle)]
    # Where a space is a cell, a line of spaces is a row.
    spaces = "" if kind.has_spaces else " \t"
    lines = [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip(spaces)]
    if not lines:
        raise InputError(f"{name}: found no puzzle, expected one per line, or one as a grid")
    cells = [len(line.translate(dict.fromkeys(map(ord, spaces)))) for _, line in lines]
    if len(lines) == metadata.side and max(cells) < metadata.seq_len:
        return [(name, "\n".join(line for _, line in lines))]
    return [(f"{name}: line {i}", line) for i, line in lines]
