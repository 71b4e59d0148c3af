"""The page of ARC tasks in headless Chromium: choose or paste a task, and the grids of each step are streamed."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from arc_model import NAMES, TASK, answer_rightly, write_model
from conftest import DESK, PHONE

import trm
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.tasks import parse_tasks
from trm.show.html.tasks import make_task_page
from trm.show.jobs import Tasks
from trm.show.server import PageServer
from trm.solving import arc_traces

pytestmark = [pytest.mark.browser, pytest.mark.processes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    model = trm.load(write_model(tmp_path_factory.mktemp("arc")))
    tasks = Tasks(model, NAMES, parse_tasks(json.dumps({"a": TASK}), "task"))
    opened = PageServer(tasks, make_task_page("Tasks", model, tasks.describe(tasks.listed)), port=0)
    thread = threading.Thread(target=opened.serve_forever, daemon=True)
    thread.start()
    yield opened
    opened.shutdown()
    opened.close()


@pytest.fixture
def right_from_step_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all answers wrong after the first step, and three of four right after the second."""
    steps = [answer_rightly(views=4, wrong=4, cycles=2), answer_rightly(views=4, wrong=1, cycles=2)]
    monkeypatch.setattr(arc_traces, "trace_by_step", lambda *_: iter(steps))


def colors(page: Any, table: str, number: int) -> list[str]:
    """Return the fills of a board's cells, row by row, as the style sheet computes them."""
    fills = "(cells) => cells.map((td) => getComputedStyle(td).getPropertyValue('--fill'))"
    return page.locator(table).nth(number).locator("td").evaluate_all(fills)


OUTPUT_COLORS = ["#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be"]


def asked(server: PageServer) -> tuple[str, ...]:
    """Return the addresses to which its page may send requests."""
    return tuple(server.address.replace("/?", f"/{path}?") for path in ("think", "tasks"))


def think(page: Any) -> str:
    page.locator("#think").click()
    page.locator("#think", has_text="Think").wait_for()
    return page.locator("#verdict").inner_text()


def test_a_task_is_answered_step_by_step(open_page: Callable, server: PageServer, right_from_step_two: None):
    page = open_page(server.address, also=asked(server), **DESK)
    assert page.locator("#task option").all_inner_texts() == ["a"]
    assert colors(page, "#examples table", 0) == ["#0074d9"]
    assert colors(page, "#test table", 0) == ["#ff851b", "#7fdbff", "#870c25", "#000000"]
    assert think(page).startswith("3 of 4 augmentations vote for the answer: it is right; ")
    # Input, truth and four attempts, on boards of one size: 2 rows of 4 cells.
    assert page.locator("#puzzles table.board").count() == 6
    answer = [color for color in colors(page, "#puzzles table.board", 2) if color != "transparent" and color]
    assert answer == OUTPUT_COLORS
    assert page.locator("#puzzles figure.winner .badge").inner_text() == "★ 3 of 4 votes"
    assert page.locator("#puzzles strong.good").count() == 3
    page.locator("#step").fill("1")
    assert page.locator("#puzzles strong.good").count() == 0


def test_a_pasted_task_without_output(open_page: Callable, server: PageServer, right_from_step_two: None):
    page = open_page(server.address, also=asked(server), **DESK)
    page.locator("summary").click()
    page.locator("#text").fill(json.dumps(TASK | {"test": [{"input": [[5]]}]}))
    page.locator("#read").click()
    page.locator("#task option").nth(1).wait_for(state="attached")
    assert colors(page, "#test table", 0) == ["#aaaaaa"]
    assert "the task has no solution to check it" in think(page)
    # The board grows with the answer.
    assert [color for color in colors(page, "#puzzles table.board", 1) if color] == OUTPUT_COLORS


def test_an_answer_that_becomes_smaller(open_page: Callable, server: PageServer, monkeypatch: pytest.MonkeyPatch):
    """Its first, larger board is shown whole."""
    steps = [answer_rightly(views=1, wrong=0, cycles=2) for _ in range(2)]
    large = to_frame(np.ones((5, 6), np.uint8)).astype(np.int32)
    steps[0].predictions[:] = large
    monkeypatch.setattr(arc_traces, "trace_by_step", lambda *_: iter(steps))
    page = open_page(server.address, also=asked(server), **DESK)
    page.locator("#attempts").fill("1")
    think(page)
    page.locator("#step").fill("1")
    assert [color for color in colors(page, "#puzzles table.board", 2) if color] == ["#0074d9"] * 30


def test_on_a_phone(open_page: Callable, server: PageServer, right_from_step_two: None):
    page = open_page(server.address, also=asked(server), **PHONE)
    assert think(page).startswith("3 of 4")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
