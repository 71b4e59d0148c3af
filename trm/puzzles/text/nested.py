"""Nested values: JSON, XML, and lists as programs print them, split into texts. Entry: `read_nested`."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from trm.errors import InputError
from trm.puzzles.text.columns import ANSWER, QUESTION, RATING, role_of
from trm.puzzles.text.markup import read_markup


class Piece(NamedTuple):
    """A text of one puzzle or several, with answer and rating where the file has them."""

    where: str
    question: str
    answer: str = ""
    rating: str = ""


_DOCUMENT = re.compile(r"^(<[!?a-zA-Z][^\n]*>|[\[{][\s\[{\"\d])", re.MULTILINE)
"""The first line of an XML, HTML or JSON document."""


def read_nested(text: str, where: str) -> list[Piece] | None:
    """Return the texts in a file of nested values; None for another file."""
    stripped = text.strip()
    if re.search(r"^\s*\[[A-Za-z ]+\]\s*$", stripped, re.MULTILINE):
        return None  # Headings, not lists.
    if stripped[:1] not in ("<", "[", "{", '"') and (start := _DOCUMENT.search(stripped)):
        document = stripped[start.start() :].rstrip("` \n")  # Behind a title, or a line of a comment.
        stripped = document if document.startswith("<") or _read_json(document) is not None else stripped
    is_json = False
    if stripped.startswith("<"):
        values = read_markup(stripped, where)
    elif stripped[:1] in ("[", "{", '"'):
        values = _read_json(stripped)
        is_json = values is not None
        if values is None:
            values = _read_loosely(stripped)
    else:
        values = _read_loosely(stripped) if re.search(r"[\[{(]\s*[\[{('\"\d.|]", stripped) else None
    if values is None:
        return None
    pieces = [piece for value in values for piece in _pieces(value)]
    if not pieces and not is_json:
        return None  # Brackets in plain text.
    if not pieces:
        raise InputError(f"{where}: found no puzzle among the values, expected lists or texts of cells")
    if len(pieces) == 1:
        return [pieces[0]._replace(where=where)]
    return [piece._replace(where=f"{where}: entry {i}") for i, piece in enumerate(pieces, start=1)]


def _read_json(text: str) -> list[Any] | None:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        pass  # Perhaps JSON lines.
    try:
        values = [json.loads(line) for line in text.split("\n") if line.strip()]
        return [values] if all(isinstance(value, list) for value in values) or _are_rows(values) else values
    except (ValueError, RecursionError):
        return None  # Perhaps a program's own way to print lists.


def _are_rows(values: list[Any]) -> bool:
    """Return whether values are texts of one row each."""
    if not all(isinstance(value, str) for value in values):
        return False
    width = max(map(len, values))
    return len(values) % width == 0 and (width < 16 or math.isqrt(width) ** 2 != width)


_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[\[\](){}]|[,;|]|[^\s,;|\[\](){}\"']+")


def _read_loosely(text: str) -> list[Any] | None:
    """Read lists with any brackets, with or without commas, of numbers, quoted texts or words: None, null, nil."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/|(?<=[,\])}])[ \t]*#[^\n'\"]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    root: list[Any] = []
    stack, closes = [root], []
    empty = False  # Whether the value between two commas is still missing.
    for token in _TOKEN.findall(text):
        if token in "[{(":
            stack[-1].append(inner := [])
            stack.append(inner)
            closes.append("]})"["[{(".index(token)])
            empty = True
        elif token in "]})":
            if not closes or closes.pop() != token:
                return None
            inner = _rows(stack.pop())
            stack[-1][-1] = inner[0] if len(inner) == 1 and isinstance(inner[0], list) else inner
            empty = False
        elif not closes:
            continue  # A name, an equals sign.
        elif token in ",;|":
            if empty and token == ",":
                stack[-1].append("")
            if token in ";|":
                stack[-1].append(_BREAK)
            empty = token == ","
        elif token[0] in "\"'" or token.lower() in _NOTHING or _VALUE.fullmatch(token):
            stack[-1].append(None if token.lower() in _NOTHING else _whole(token.strip("\"'")))
            empty = False
    return None if closes or not root else [root]


_NOTHING = ("none", "null", "nil", "undefined", "nan", "na", "n/a", "false")
_VALUE = re.compile(r"(?![A-Za-z_]*[A-WYZa-wyz][A-Za-z_])[\w.?*-]+")
"""A value without quotes: cells, but not the words of a program."""
_BREAK = object()
"""The end of a row, as in `[5 3 0; 6 0 0]`."""


def _whole(token: str) -> str:
    """Return a number without the point of NumPy's floats, `5.`; any other token as it is."""
    return token.rstrip("0").removesuffix(".") if re.fullmatch(r"\d\.0*", token) else token


def _rows(values: list[Any]) -> list[Any]:
    """Return values as they are or, where they contain ends of rows, as rows."""
    if _BREAK not in values:
        return values
    rows: list[Any] = [[]]
    for value in values:
        if value is _BREAK:
            rows.append([])
        else:
            rows[-1].append(value)
    rows = [row for row in rows if row]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else rows


# Values to texts


def _pieces(value: Any) -> Iterator[Piece]:
    if isinstance(value, dict):
        yield from _of_table(value)
    elif isinstance(value, list):
        if text := _text_of(value):
            yield Piece("", text)
        elif not all(_is_cell(v) for v in value):
            for inner in value:
                yield from _pieces(inner)
    elif isinstance(value, str) and len(value) >= 9:
        yield Piece("", value)


def _of_table(table: dict[Any, Any]) -> Iterator[Piece]:
    roles = {role: [k for k in table if role_of(str(k)) == role] for role in (QUESTION, ANSWER, RATING)}
    others = [k for k in table if not any(k in keys for keys in roles.values())]
    for key in roles[QUESTION] or others:
        questions = list(_pieces(table[key]))
        if not questions:
            continue
        answers = [piece for k in roles[ANSWER][:1] for piece in _pieces(table[k])]
        rating = table.get(roles[RATING][0], "") if roles[RATING] else ""
        if len(answers) == len(questions):
            ratings = (
                rating if isinstance(rating, list) and len(rating) == len(questions) else [rating] * len(questions)
            )
            for question, answer, of in zip(questions, answers, ratings, strict=True):
                yield _placed(Piece("", question.question, answer.question, _scalar(of)), table)
        else:
            yield from (_placed(question, table) for question in questions)
        if roles[QUESTION]:
            return


def _placed(piece: Piece, table: dict[Any, Any]) -> Piece:
    """Mark start and goal that a maze gives beside its board: {"maze": ..., "start": [0, 1], "goal": [4, 4]}."""
    rows = piece.question.split("\n")
    for names, sign in ((("start", "begin", "source"), "S"), (("goal", "end", "finish", "target", "exit"), "G")):
        place = next((table[k] for k in table if str(k).lower() in names), None)
        match place:
            case (
                [int(row), int(column)]
                | {"row": int(row), "col": int(column)}
                | {"row": int(row), "column": int(column)}
                | {"y": int(row), "x": int(column)}
            ) if 0 <= row < len(rows) and 0 <= column < len(rows[row]):
                rows[row] = rows[row][:column] + sign + rows[row][column + 1 :]
    return piece._replace(question="\n".join(rows))


def _text_of(value: list[Any]) -> str:
    """Return the text of a list of cells, of rows of them, or of texts; empty for anything else."""
    if not value:
        return ""
    if all(isinstance(v, str) and len(v) >= 4 for v in value) and sum(map(len, value)) >= 16:
        return "\n".join(value)
    if all(map(_is_cell, value)):
        return _row(value) if len(value) >= 16 else ""
    if len(value) >= 4 and all(isinstance(v, list) and len(v) >= 4 and all(map(_is_cell, v)) for v in value):
        return "\n".join(_row(v) for v in value)
    return ""


def _is_cell(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.strip()) <= 2
    return _is_nothing(value) or (isinstance(value, int | float) and abs(value) < 100 and value == int(value))


def _is_nothing(value: Any) -> bool:
    """Return whether a value is null or NaN, the blanks of NumPy and pandas tables."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _scalar(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _row(cells: list[Any]) -> str:
    """Format a row; a blank is a dot."""
    texts = [c.strip() if isinstance(c, str) else "" if _is_nothing(c) else str(int(c)) for c in cells]
    texts = [text or "." for text in texts]
    return ("" if all(len(text) == 1 for text in texts) else ",").join(texts)
