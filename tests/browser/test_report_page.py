"""The page of `trm inspect` in headless Chromium: no errors, dark mode, a phone, and the player in it by keys."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import DESK, PHONE

import trm
from trm.evaluation.inspection import trace_examples
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku.rules import TOKEN_OF_DIGIT_0
from trm.show.inspection.page import make_page
from trm.solving.attempt_traces import PuzzleTrace

pytestmark = [pytest.mark.browser, pytest.mark.processes]

NAME = "checkpoint_" * 8 + ".safetensors"
"""A word that is wider than a phone."""


class Report(NamedTuple):
    address: str
    traces: list[PuzzleTrace]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    model = trm.load("sudoku-6x6")
    puzzles = list(sudoku_generator.generate_many(6, 12, seed=0))
    tokens = [
        np.stack([board.ravel() + TOKEN_OF_DIGIT_0 for board in boards])
        for boards in zip(*((puzzle.question, puzzle.answer) for puzzle in puzzles), strict=True)
    ]
    found = trm.inspect(model, trm.PuzzleSet.from_arrays(*tokens, vocab_size=8), puzzles=12, steps=4)
    chosen = found.hardest(2)
    traces = trace_examples(model, found, chosen)
    page = make_page(NAME, NAME, model.kind.picture(36, 8), found, chosen.tolist(), traces)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return Report(path.as_uri(), traces)


def answer(page: Any) -> list[str]:
    """Return the cells of the first answer in the player; the board before it is the truth."""
    return page.frame_locator("iframe").locator("#puzzles table.board").nth(1).locator("td").all_inner_texts()


def expected(trace: PuzzleTrace, step: int, cycle: int) -> list[str]:
    tokens = trace.attempts[0].predictions[step - 1, cycle - 1]
    return ["?" if token == 0 else "" if token == 1 else str(token - 1) for token in tokens.tolist()]


def test_the_player_in_it_works_by_keys(open_page: Callable, report: Report):
    page = open_page(report.address, **DESK)
    trace = report.traces[0]
    steps, cycles = trace.attempts[0].q_halt.shape
    question = ["" if token == 1 else str(token - 1) for token in trace.question.tolist()]
    assert answer(page) == question
    # By Tab: the player comes after the numbers that can be unfolded.
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "IFRAME":
            break
    page.keyboard.press("ArrowRight")
    assert answer(page) == expected(trace, 1, cycles)
    page.keyboard.press("ArrowDown")
    assert answer(page) == expected(trace, 1, 1)
    page.keyboard.press("End")
    assert answer(page) == expected(trace, steps, cycles)
    assert expected(trace, steps, cycles) != question
    page.keyboard.press("Home")
    assert answer(page) == question


def test_numbers_are_unfolded_by_key(open_page: Callable, report: Report):
    page = open_page(report.address, **DESK)
    details = page.locator("details").first
    assert not details.locator("table").is_visible()
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.locator("table").is_visible()


def test_dark(open_page: Callable, report: Report):
    """The page, its charts and the player in it are dark, and text has enough contrast."""
    found = [open_page(report.address, viewport=DESK["viewport"], color_scheme=s) for s in ("light", "dark")]
    frames = [page.frame_locator("iframe").locator("body") for page in found]
    background = "(element) => getComputedStyle(element).backgroundColor"
    for bodies in ([page.locator("body") for page in found], frames):
        light, dark = (_luminance(body.evaluate(background)) for body in bodies)
        assert light > 0.8
        assert dark < 0.1
    for selector, style in (("body", "color"), (".chart text", "fill"), ("section > p", "color"), ("summary", "color")):
        drawn = found[1].locator(selector).first.evaluate(f"(element) => getComputedStyle(element).{style}")
        behind = _luminance(found[1].locator("figure").first.evaluate(background))
        # The contrast that WCAG requires (AA).
        assert (_luminance(drawn) + 0.05) / (behind + 0.05) >= 4.5, selector


def _luminance(color: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`."""
    shares = np.array([float(part) for part in color.removeprefix("rgb(").removesuffix(")").split(",")]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_nothing_is_wider_than_a_phone(open_page: Callable, report: Report):
    page = open_page(report.address, **PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    outside = """(elements) => elements
      .filter((element) => !element.parentElement.closest(".wide"))
      .filter((element) => element.getBoundingClientRect().right > 390.5)
      .map((element) => element.outerHTML.slice(0, 80))"""
    assert page.locator("body *").evaluate_all(outside) == []
    # Charts are smaller here, their text is not.
    size = "(text) => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.clientWidth / 420"
    assert min(page.locator(".chart text").evaluate_all(f"(texts) => texts.map({size})")) >= 11
    cut = """(texts) => texts.filter((text) => {
      const svg = text.ownerSVGElement;
      const border = getComputedStyle(svg).overflow === "hidden" ? svg : svg.closest("figure");
      return text.getBoundingClientRect().left < border.getBoundingClientRect().left;
    }).map((text) => text.textContent)"""
    assert page.locator(".chart text").evaluate_all(cut) == []
    frame = page.frames[1]
    assert frame.evaluate(width) <= frame.evaluate("innerWidth")
    # A wider table scrolls by itself.
    assert page.locator(".wide").first.evaluate("(element) => getComputedStyle(element).overflowX") == "auto"
