"""The console that commands print to. Entry: `print_lines`, `print_drawing`, `print_rows`, `print_warning`,
`console`; `replace_characters` for outputs that cannot encode all."""

import codecs
import io
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `main` handles it, as it does for `print`.


console = _Console()

PLAIN = {"·": ".", "…": "~", "→": ">", "█": "#", "▒": "%", "░": ":", "─": "-", "│": "|"}
"""Replacements of characters that an output cannot encode, one for one, so that columns stay aligned."""


def print_lines(text: str) -> None:
    """Print text as it is, without markup and without breaking lines; control characters are escaped."""
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def print_drawing(drawing: Text) -> None:
    """Print a drawing without breaking its lines: a terminal crops them, a file or a pipe has them whole."""
    console.print(drawing, highlight=False, no_wrap=True, overflow="ignore", crop=console.is_terminal)


def print_rows(rows: dict[str, Any]) -> None:
    """Print names and values in two columns; control characters are escaped."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(printable(name), printable(str(value)))
    console.print(table, highlight=False, markup=False)


def print_warning(text: str) -> None:
    """Print one line to standard error."""
    print("warning: " + printable(" ".join(text.split("\n"))), file=sys.stderr)


def replace_characters() -> None:
    """Let both outputs replace characters that their encoding lacks, instead of failing."""
    codecs.register_error("trm", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="trm")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_plain(character) for character in characters), error.end


def _plain(character: str) -> str:
    """Return one character of ASCII."""
    if character in PLAIN:
        return PLAIN[character]
    # Without its accent.
    letter = unicodedata.normalize("NFKD", character)[0]
    if letter.isascii():
        return letter
    return "+" if unicodedata.name(character, "").startswith("BOX DRAWINGS") else "?"


def printable(text: str) -> str:
    r"""Escape every control character: an escape sequence becomes `\x1b[31m`.

    Line breaks and tabs stay. Names in files and on the hub may be anyone's: they must not move the cursor.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    # To Python every space but the plain one is unprintable.
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
