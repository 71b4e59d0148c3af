"""The page of an inspection: its numbers, its form, that it asks for nothing, and how it is drawn in a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import check_mistake, run_trm

from trm.puzzles.kinds.maze.build import build_split as build_mazes
from trm.show.inspection.charts import Axis, Line, column_chart, fit_axis, heat_map, line_chart, percent, table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "input", "img", "link", "br"}


class _Page(HTMLParser):
    """Collects the tags of a page and requires that they are closed in order."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    assert not page.open
    return page


@pytest.fixture(scope="module")
def page_file(puzzle_dir_6x6: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return puzzle_dir_6x6
