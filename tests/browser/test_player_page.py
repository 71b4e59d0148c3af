"""The player's page in headless Chromium: the boards after sliders, keys and buttons."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DESK, PHONE, in_float32

import trm
from trm.puzzles.kinds.registry import KINDS
from trm.show.html.player import make_player
from trm.solving.attempt_traces import PuzzleTrace, trace_puzzles

pytestmark = [pytest.mark.browser, pytest.mark.processes]

PUZZLE = "3654.24...5..32.4..4..232....4.....5"
NAME = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def traced() -> list[PuzzleTrace]:
    model = in_float32(trm.load("sudoku-6x6"))
    return trace_puzzles(model, model.parse(PUZZLE).astype(np.int32)[None], views=2, steps=4)


@pytest.fixture
def address(traced: list[PuzzleTrace], tmp_path: Path) -> str:
    path = tmp_path / "player.html"
    path.write_text(make_player(NAME, KINDS["sudoku"].picture(36, 8), [NAME], traced), encoding="utf-8")
    return path.as_uri()


def cells(page: Any, attempt: int = 0) -> list[str]:
    return page.locator("#puzzles table.board").nth(attempt).locator("td").all_inner_texts()


def expected(traced: list[PuzzleTrace], step: int, cycle: int, attempt: int = 0) -> list[str]:
    tokens = traced[0].attempts[attempt].predictions[step - 1, cycle - 1]
    return ["?" if token == 0 else "" if token == 1 else str(token - 1) for token in tokens.tolist()]


QUESTION = [c.replace(".", "") for c in PUZZLE]


def test_keys_move_through_steps_and_cycles(open_page: Callable, address: str, traced: list[PuzzleTrace]):
    page = open_page(address, **DESK)
    _, cycles = traced[0].attempts[0].q_halt.shape
    assert cells(page) == QUESTION
    page.keyboard.press("ArrowRight")
    assert cells(page) == expected(traced, 1, cycles)
    assert cells(page, 1) == expected(traced, 1, cycles, attempt=1)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    assert cells(page) == expected(traced, 1, 1)
    assert cells(page) != expected(traced, 1, cycles)
    page.keyboard.press("Home")
    assert cells(page) == QUESTION


def test_sliders_show_a_step_and_a_cycle(open_page: Callable, address: str, traced: list[PuzzleTrace]):
    page = open_page(address, **DESK)
    steps, cycles = traced[0].attempts[0].q_halt.shape
    page.locator("#step").fill(str(steps))
    assert cells(page) == expected(traced, steps, cycles)
    page.locator("#cycle").fill("1")
    assert cells(page) == expected(traced, steps, 1)


def test_it_plays_to_its_end_and_stops_there(open_page: Callable, address: str, traced: list[PuzzleTrace]):
    page = open_page(address, **DESK)
    steps, cycles = traced[0].attempts[0].q_halt.shape
    page.locator("#speed").select_option("200")
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#play", has_text="Play").wait_for()
    assert cells(page) == expected(traced, steps, cycles)
    assert f"Step {steps}" in page.locator("#status").inner_text()


def test_labels_for_screen_readers(open_page: Callable, address: str):
    page = open_page(address, **DESK)
    page.keyboard.press("End")
    assert page.locator("td").first.get_attribute("aria-label").startswith("3, given")
    assert page.locator("figure.winner").count() == 1
    assert page.locator("h2").inner_text() == NAME


def test_dark_and_on_a_phone(open_page: Callable, address: str):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = open_page(address, **DESK).evaluate(colour)
    phone = open_page(address, **PHONE)
    assert phone.evaluate(colour) != light
    # Nothing is wider than the window.
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
