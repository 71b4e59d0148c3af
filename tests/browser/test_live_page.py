"""Live pages in headless Chromium: type or draw a puzzle, and the network in the page solves it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DESK, PHONE

import trm
from trm.puzzles.kinds.maze.generate import generate_many
from trm.puzzles.kinds.maze.rules import GOAL, PATH, START, WALL
from trm.puzzles.kinds.sudoku.generate import generate_many as generate_sudokus
from trm.show.html.live import make_live_page
from trm.solving.attempt_traces import trace_puzzles
from trm.solving.trained_model import TrainedModel

pytestmark = [pytest.mark.browser, pytest.mark.processes]

SUDOKU = "3654.24...5..32.4..4..232....4.....5"


@pytest.fixture(scope="module")
def sudoku() -> TrainedModel:
    return trm.load("sudoku-6x6")


@pytest.fixture(scope="module")
def sudoku_page(sudoku: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "sudoku.html"
    path.write_text(make_live_page("Live", sudoku, [sudoku.parse(SUDOKU)], steps=8), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def maze_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "maze.html"
    path.write_text(make_live_page("Live", trm.load("maze"), steps=4), encoding="utf-8")
    return path.as_uri()


def texts(page: Any, table: str) -> list[str]:
    return page.locator(table).locator("td").all_inner_texts()


def think(page: Any) -> str:
    """Run the network to its end; return the verdict."""
    page.locator("#think").click()
    page.locator("#think", has_text="Think").wait_for()
    return page.locator("#verdict").inner_text()


def test_a_typed_sudoku_is_solved_as_jax_solves_it(open_page: Callable, sudoku: TrainedModel, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    page.locator("#clear").click()
    assert set(texts(page, "#editor")) == {""}
    page.locator("#editor td").first.click()
    page.keyboard.type(SUDOKU)
    assert texts(page, "#editor") == [c.replace(".", "") for c in SUDOKU]
    verdict = think(page)
    tokens = sudoku.parse(SUDOKU).astype(np.int32)
    (traced,) = trace_puzzles(sudoku, tokens[None], steps=8)
    (attempt,) = traced.attempts
    assert attempt.solved_after is not None
    assert attempt.halting_step is not None
    assert verdict.startswith(f"The answer obeys the rules after step {attempt.solved_after}; ")
    assert f"q_halt stops it after step {attempt.halting_step}" in verdict
    answer = attempt.predictions[attempt.halting_step - 1, -1]
    assert texts(page, "#puzzles table.board") == [str(token - 1) for token in answer.tolist()]
    # The player shows earlier steps.
    page.locator("#step").fill("0")
    assert texts(page, "#puzzles table.board") == [c.replace(".", "") for c in SUDOKU]
    page.locator("#back").focus()
    page.keyboard.press("ArrowRight")
    first = attempt.predictions[0, -1]
    assert texts(page, "#puzzles table.board") == [
        "?" if t == 0 else "" if t == 1 else str(t - 1) for t in first.tolist()
    ]


PASTE = """([selector, text]) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text", text);
  const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
  return event.defaultPrevented;
}"""


def test_what_is_pasted(open_page: Callable, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    board = [c.replace(".", "") for c in SUDOKU]
    framed = "".join(f"+---+---+\n|{SUDOKU[i : i + 3]}|{SUDOKU[i + 3 : i + 6]}|\n" for i in range(0, 36, 6))
    for text in (SUDOKU.replace(".", "-"), framed):
        page.locator("#clear").click()
        assert page.evaluate(PASTE, ["body", text])
        assert texts(page, "#editor") == board
    # A number pasted into a field is the field's.
    assert not page.evaluate(PASTE, ["#steps", "12"])
    assert page.locator("#problem").inner_text() == ""


def test_keys_before_there_is_something_to_play(open_page: Callable, sudoku_page: str):
    """They scroll the page."""
    page = open_page(sudoku_page, **DESK)
    press = (
        "(key) => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))"
    )
    keys = ["ArrowDown", "End", " "]
    assert all(page.evaluate(press, key) for key in keys)
    page.locator("#steps").fill("1")
    think(page)
    assert not any(page.evaluate(press, key) for key in keys)


def test_attempts_through_views_answer_the_puzzle_itself(open_page: Callable, sudoku: TrainedModel, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    page.locator("#attempts").fill("4")
    page.locator("#stop").select_option("never")
    page.locator("#steps").fill("3")
    think(page)
    tables = page.locator("#puzzles table.board")
    assert tables.count() == 4
    solved = page.locator("#puzzles figure", has_text="solved,").count()
    assert solved >= 1
    for i in range(4):
        cells = tables.nth(i).locator("td").all_inner_texts()
        if "solved," in page.locator("#puzzles figure").nth(i).inner_text():
            # The view is undone, whichever it was.
            assert sudoku.kind.solved(sudoku.parse(SUDOKU)[None], np.array([[int(c) + 1 for c in cells]]))[0]
    assert page.locator("#step").get_attribute("max") == "3"


@pytest.mark.parametrize("attempts", [1, 3])
def test_guesses_until_it_is_solved(open_page: Callable, sudoku: TrainedModel, sudoku_page: str, attempts: int):
    """One step does not solve it; with right guesses it does. The guesses are marked."""
    boards = [board.question.ravel() + 1 for board in generate_sudokus(6, 50, seed=3)]
    traced = trace_puzzles(sudoku, np.stack(boards).astype(np.int32), steps=1)
    hard = next(b for b, found in zip(boards, traced, strict=True) if not found.attempts[0].solved_after)
    page = open_page(sudoku_page, **DESK)
    page.locator("#clear").click()
    page.locator("#editor td").first.click()
    page.keyboard.type(sudoku.kind.format(hard))
    page.locator("#steps").fill("1")
    page.locator("#symmetries").uncheck()
    assert think(page).startswith("The network did not solve it: ")
    assert page.locator("#puzzles td.guessed").count() == 0
    page.locator("#attempts").fill(str(attempts))
    page.locator("#guesses").check()
    verdict = think(page)
    assert "after step 1" in verdict
    tries = int(re.findall(r"(\d+) attempts in all", verdict)[0])
    assert attempts < tries <= 512
    assert 0 < page.locator("#puzzles td.guessed").count() <= 3 * attempts
    winner = "#puzzles figure.winner" if attempts > 1 else "#puzzles"
    answer = [int(text) + 1 for text in texts(page, f"{winner} table.board")]
    assert sudoku.kind.solved(hard[None], np.array(answer)[None])[0]


def test_noise_gives_another_start(open_page: Callable, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    page.locator("#steps").fill("1")
    page.locator("#symmetries").uncheck()
    page.locator("#attempts").fill("2")
    think(page)
    titles = "(tables) => tables.map((table) => [...table.querySelectorAll('td')].map((cell) => cell.title))"
    first, second = page.eval_on_selector_all("#puzzles table.board", titles)
    assert first == second
    page.locator("#noise").fill("1")
    think(page)
    first, second = page.eval_on_selector_all("#puzzles table.board", titles)
    assert first != second


def test_contradictory_clues_are_refused(open_page: Callable, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    page.locator("#editor td").nth(4).click()
    page.locator("#brushes button", has_text="3").click()
    page.locator("#think").click()
    assert page.locator("#problem").inner_text() == "contradictory clues: two 3 in a row"
    assert page.locator("#editor td.contradicts").count() == 2
    assert page.locator("#puzzles table.board").count() == 0


def test_it_can_be_stopped(open_page: Callable, sudoku_page: str):
    page = open_page(sudoku_page, **DESK)
    page.locator("#steps").fill("128")
    page.locator("#attempts").fill("16")
    page.locator("#stop").select_option("never")
    page.locator("#think").click()
    page.locator("#verdict", has_text="Step 2 ").wait_for()
    page.locator("#think").click()
    assert page.locator("#verdict").inner_text().startswith("Stopped. ")
    made = int(page.locator("#step").get_attribute("max"))
    assert 2 <= made < 128
    # It can be started again.
    page.locator("#steps").fill("1")
    page.locator("#attempts").fill("1")
    think(page)
    assert page.locator("#step").get_attribute("max") == "1"


def test_a_drawn_maze_is_solved(open_page: Callable, maze_page: str):
    page = open_page(maze_page, **DESK)
    page.locator("#clear").click()
    page.locator("#think").click()
    assert page.locator("#problem").inner_text() == "found no start, expected one"
    (maze,) = generate_many(9, 1, seed=0)
    question = maze.question.ravel()
    cells = page.locator("#editor td")
    for token, name in ((START, "start"), (GOAL, "goal"), (WALL, "wall")):
        page.locator(".brush", has_text=name).click()
        for cell in np.flatnonzero(question == token).tolist():
            cells.nth(cell).click()
    assert think(page).startswith("The answer obeys the rules")
    assert page.locator("#puzzles td.path").count() == (maze.answer == PATH).sum()


def test_a_stroke_draws_and_a_second_one_erases(open_page: Callable, maze_page: str):
    page = open_page(maze_page, **DESK)
    page.locator("#clear").click()
    cells = page.locator("#editor td")
    begin, end = cells.nth(2).bounding_box(), cells.nth(2 + 3 * 9).bounding_box()
    for expected in ([2, 11, 20, 29], []):
        page.mouse.move(begin["x"] + 9, begin["y"] + 9)
        page.mouse.down()
        page.mouse.move(end["x"] + 9, end["y"] + 9, steps=20)
        page.mouse.up()
        classes = page.eval_on_selector_all("#editor td", "(all) => all.map((td) => td.className)")
        assert [i for i, name in enumerate(classes) if name.startswith("wall")] == expected


def test_a_maze_by_keyboard(open_page: Callable, maze_page: str):
    page = open_page(maze_page, **DESK)
    page.locator("#clear").click()
    page.locator("#editor td").first.focus()
    for key in ["s", "ArrowRight", "#", "ArrowDown", "#", "ArrowRight", "ArrowRight", "g"]:
        page.keyboard.press(key)
    names = [td.split()[0] for td in page.eval_on_selector_all("#editor td", "(all) => all.map((td) => td.className)")]
    assert [i for i, name in enumerate(names) if name == "wall"] == [1, 10]
    assert (names.index("start"), names.index("goal")) == (0, 12)


@pytest.mark.parametrize("kind", ["sudoku", "maze"])
def test_dark_and_on_a_phone(open_page: Callable, request: pytest.FixtureRequest, kind: str):
    address = request.getfixturevalue(f"{kind}_page")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = open_page(address, **DESK).evaluate(colour)
    phone = open_page(address, **PHONE)
    phone.locator("#steps").fill("2")
    phone.locator("#think").tap()
    phone.locator("#think", has_text="Think").wait_for()
    assert phone.evaluate(colour) != light
    assert phone.evaluate("document.documentElement.scrollWidth") == 390


def test_without_webassembly_it_solves_too(open_page: Callable, sudoku: TrainedModel, tmp_path: Path):
    page_text = make_live_page("Live", sudoku, [sudoku.parse(SUDOKU)], steps=8)
    # As in a browser that allows no WebAssembly.
    path = tmp_path / "strict.html"
    path.write_text(page_text.replace(" 'wasm-unsafe-eval'", ""), encoding="utf-8")
    page = open_page(path.as_uri(), **DESK)
    assert think(page).startswith("The answer obeys the rules")
