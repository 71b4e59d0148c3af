"""Columns of tables: which one holds the questions, by name or by content. Entry: `find_layout`, `role_of`."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from trm.errors import InputError

QUESTION, ANSWER, RATING = "question", "answer", "rating"
NAMES = {
    QUESTION: "question puzzle quiz quizze sudoku maze board grid input problem initial unsolved given mission task",
    ANSWER: "answer solution solved output label target result solve solution_string",
    RATING: "rating difficulty level score hardness rate guesses",
}
"""Names of columns and keys, without the `s` of the plural, the less ambiguous first."""

Looks = Callable[[str], str | None]
"""Returns QUESTION or ANSWER for a field that is a whole board, else None."""


class Layout(NamedTuple):
    """Layout of a table: its delimiter, header and number of columns, and the index of each role's column."""

    delimiter: str
    header: list[str] | None
    width: int
    question: int
    answer: int | None
    rating: int | None


_REMARK = re.compile(r"\s*(#|//|%|;)\s*\w*[A-Za-z]{2}")


def without_remarks(lines: Sequence[str]) -> list[str]:
    """Return the lines of a text, those of comments before the first other one empty."""
    first = next((i for i, line in enumerate(lines) if line.strip() and not _REMARK.match(line)), 0)
    return [""] * first + [*lines[first:]]


def below_titles(lines: Sequence[str]) -> list[str]:
    """Return the lines of a table, those above its header empty: a title, or Excel's `sep=;`."""
    for place, line in enumerate(lines[:_TITLES]):
        for delimiter in ",\t;|":
            roles = {role_of(field) for field in line.split(delimiter)}
            if QUESTION in roles and roles & {ANSWER, RATING}:
                return [""] * place + [*lines[place:]]
    return [*lines]


_TITLES = 10
"""Lines among which the header of a table is looked for."""


def role_of(name: str) -> str | None:
    """Return the role of a column or key by its name; None where the name does not show it."""
    plain = _plain(name)
    for role, names in NAMES.items():
        if plain in names.split():
            return role
    return None


def _plain(name: str) -> str:
    words = re.sub(r"[^a-z0-9_]+", "", name.strip().lower())
    return words.removesuffix("s") if not words.endswith("ss") else words


def find_layout(
    lines: Sequence[str], looks: Looks, chosen: Mapping[str, str] | None = None, where: str = ""
) -> Layout | None:
    """Return the layout that the first lines of a table show; None where they are not a table of whole boards.

    `chosen` are a user's names, or numbers from 1, of the columns. Raises InputError for a missing column.
    """
    lines = [line for line in lines if line.strip(" \r\n\ufeff")]
    if not lines:
        return None
    found = [layout for delimiter in ",\t;|" if (layout := _with_delimiter(lines, delimiter, looks, chosen))]
    if not found and chosen:
        header = lines[0].strip()[:80]
        raise InputError(
            f"{where}: --columns: found the header {header!r}, expected columns {', '.join(chosen.values())}"
        )
    return max(found, key=lambda layout: layout.width, default=None)


def _with_delimiter(
    lines: Sequence[str], delimiter: str, looks: Looks, chosen: Mapping[str, str] | None
) -> Layout | None:
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return None  # A quoted field contains this delimiter.
    first, body = rows[0], rows[1:]
    if chosen:
        return _as_chosen(first, body, looks, chosen, delimiter)
    names = [role_of(field) for field in first]
    kinds = [looks(field) for field in first]
    # One column below a heading may be the rows of a grid.
    alike = any(len(row) == len(first) and (len(first) > 1 or looks(row[0])) for row in body[:1]) or ANSWER in names
    titled = len(first) > 3 and not "".join(first[1:]).strip()  # A spreadsheet's title.
    if not any(kinds) and QUESTION in names and (alike or not body) and not titled:
        places = {role: _best(first, names, role) for role in NAMES}
        return Layout(delimiter, first, len(first), places[QUESTION] or 0, places[ANSWER], places[RATING])
    header = None
    if not any(kinds):
        if not body or len(body[0]) != len(first) or any(map(_is_number, first)):
            return None
        if len(first) == 1:
            return None  # A title, which others may follow, or the first row of a grid.
        header, kinds = first, [looks(field) for field in body[0]]
    if QUESTION not in kinds or any(len(row) != len(first) for row in rows[:-1]):
        return None
    question = kinds.index(QUESTION)
    answer = kinds.index(ANSWER) if ANSWER in kinds else None
    if header is not None:
        rating = names.index(RATING) if RATING in names else None
    else:
        # Without a header, a single number behind the boards is a rating; one before them may be a count.
        last = max(question, answer or 0)
        numbers = [i for i, field in enumerate(first) if i > last and _is_number(field)]
        rating = numbers[0] if len(numbers) == 1 else None
    return Layout(delimiter, header, len(first), question, answer, rating)


def _as_chosen(
    first: list[str], body: list[list[str]], looks: Looks, chosen: Mapping[str, str], delimiter: str
) -> Layout | None:
    header = [field.strip() for field in first]
    numbers = [str(number) for number in range(1, len(first) + 1)]
    if set(chosen.values()) <= set(numbers):
        # A header, or even a row of numbers, may have such a name, too: the boards show what is meant.
        by_number = {role: numbers.index(name) for role, name in chosen.items()}
        boards = [
            len(row) > by_number[QUESTION] and bool(looks(row[by_number[QUESTION]])) for row in (first, *body[:1])
        ]
        if any(boards):
            titles = None if boards[0] else first
            question, answer, rating = (by_number.get(role) for role in NAMES)
            return Layout(delimiter, titles, len(first), question or 0, answer, rating)
    places: dict[str, int] = {}
    for role, name in chosen.items():
        if name in header:
            places[role] = header.index(name)
        elif name in numbers:
            places[role] = numbers.index(name)
        else:
            return None
    named = any(name in header for name in chosen.values())
    return Layout(
        delimiter, first if named else None, len(first), places[QUESTION], places.get(ANSWER), places.get(RATING)
    )


def _best(header: list[str], roles: list[str | None], role: str) -> int | None:
    order = NAMES[role].split()
    return min(
        (i for i, found in enumerate(roles) if found == role),
        key=lambda i: order.index(_plain(header[i])),
        default=None,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return len(text) < 16


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Parse `question=NAME,answer=NAME,rating=NAME`; the question is required."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    columns = {role.strip(): name.strip() for role, _, name in pairs}
    if QUESTION not in columns or not set(columns) <= set(NAMES) or not all(columns.values()):
        raise InputError(f"--columns: found {text!r}, expected question=NAME, perhaps ,answer=NAME and ,rating=NAME")
    return columns
