"""Puzzles in XML and HTML: documents of Sudoku programs, tables of web pages. Entry: `read_markup`."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from trm.errors import InputError
from trm.puzzles.text.columns import ANSWER, QUESTION, role_of
from trm.puzzles.text.decode import normalise


def read_markup(text: str, where: str) -> list[Any]:
    """Return the values in an XML or HTML document: tables as lists of rows, texts, and questions with answers."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        # Web pages are rarely valid XML.
        page = _Page()
        page.feed(text)
        page.close()
        if page.tables:
            return _boards(page.tables)
        if re.search(r"<(!doctype html|html|body|div|pre|p|br)\b", text, re.IGNORECASE):
            return [normalise("".join(page.text))]
        raise InputError(f"{where}: not an XML file: {error}") from error
    if root.find(".//{*}tr") is not None or root.tag == "tr":
        page = _Page()
        page.feed(text)
        page.close()
        return _boards(page.tables)
    if games := [data for element in root.iter() if (data := element.get("data"))]:
        return [_of_open_sudoku(data) for data in games]
    return list(_of_elements(root)) or ["\n".join(text.strip() for text in root.itertext() if text.strip())]


def _boards(tables: list[list[list[str]]]) -> list[Any]:
    """Return the tables that may be boards; other tables of a page hold menus and words."""
    return [table for table in tables if len(table) >= 4]


def _of_elements(root: ElementTree.Element) -> Iterator[Any]:
    """Yield boards in elements or attributes of any name, with the solution that follows; what a player set is none."""
    question = None
    for element in root.iter():
        texts = (*element.attrib.values(), element.text or "")
        board = next((value for value in texts if len("".join(value.split())) >= 16 and re.search(r"\d|#", value)), "")
        name = element.tag.lower()
        if not board or name.startswith(("user", "state", "current")):
            continue
        if role_of(name) == ANSWER and question is not None:
            yield {QUESTION: question, ANSWER: board}
            question = None
            continue
        if question is not None:
            yield question
        question = board
    if question is not None:
        yield question


def _of_open_sudoku(value: str) -> str:
    """Return the clues of a game under way: `version: N`, then value, notes and whether it may be edited, by cell."""
    match = re.match(r"\s*version:\s*(\d{1,9})\s+(.*)", value, re.DOTALL)
    if not match:
        return value
    fields = match[2].strip().rstrip("|").split("|")
    per_cell = 4 if int(match[1]) >= 4 else 3
    cells = [fields[i : i + per_cell] for i in range(0, len(fields), per_cell)]
    return "".join(cell[0] if cell[-1] == "0" else "." for cell in cells)


class _Page(HTMLParser):
    """The tables and the text of a page; a field to fill in is its value."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "title"):
            self._hidden += 1
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            if not self.tables:
                self.tables.append([])
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
        elif tag == "input":
            self.handle_data(dict(attrs).get("value") or "")
        elif tag in ("br", "p", "div", "pre", "li"):
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "title"):
            self._hidden = max(0, self._hidden - 1)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text.append(data)
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += normalise(data).strip()
