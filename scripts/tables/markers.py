"""Tables in a Markdown text: the lines between two markers are replaced. Entries: `update`, `readmes`.

    <!-- table: NAME -->
    the table, and a line that says where and how it was measured
    <!-- end of table -->

NAME is a key of `TABLES` in `definitions.py`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from records import Record

from tables.definitions import TABLES
from tables.render import render
from trm.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("configs", "scripts", "tests", "trm")

_BEGIN = re.compile(r"^<!-- table: (\S+) -->$", re.MULTILINE)
_END = "<!-- end of table -->"


def readmes() -> list[Path]:
    """Return the READMEs of the repository."""
    return [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("README.md")))]


def update(where: str, text: str, records: Sequence[Record]) -> str:
    """Return the text with its tables made anew; raise InputError for an unknown table or a missing end."""
    parts, position = [], 0
    for begin in _BEGIN.finditer(text):
        if begin.start() < position:
            raise InputError(f"{where}: table {begin[1]}: found a table inside a table, expected {_END!r} before it")
        if begin[1] not in TABLES:
            raise InputError(f"{where}: table: found {begin[1]!r}, expected one of {', '.join(TABLES)}")
        end = text.find(f"\n{_END}", begin.end())
        if end < 0:
            raise InputError(f"{where}: table {begin[1]}: found no {_END!r}, expected one after the table")
        parts += [text[position : begin.end()], "\n\n", render(TABLES[begin[1]], records)]
        position = end
    return "".join([*parts, text[position:]])
