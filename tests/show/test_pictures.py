"""Pictures of the reasoning: SVG, PNG and GIF of the winning attempt."""

import re
import sys
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import check_mistake, run_trm

from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.registry import KINDS
from trm.show.pictures import FILLS, MOST_STEPS, Box, draw_frames, draw_steps, to_svg, write_pictures
from trm.solving.attempt_traces import PuzzleTrace, judge_attempt
from trm.solving.trace import Trace

ANSWER = "1234341221434321"


def traced(kind: PuzzleKind, question: str, answers: list[str]) -> PuzzleTrace:
    """Return a puzzle with one attempt, an answer after each step."""
    tokens = np.stack([kind.parse_answer(answer, "answer") for answer in answers]).astype(np.int32)[:, None, None]
    q_halt = np.full((len(answers), 1, 1), 0.5, np.float32)
    trace = Trace(tokens, tokens * np.float32(0.1), q_halt, np.zeros((len(answers), 1), bool))
    asked = kind.parse(question, "question").astype(np.int32)
    return PuzzleTrace(asked, None, (judge_attempt(kind, asked, None, trace, 0),))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_steps_that_changed_something():
    kind = KINDS["sudoku"]
    wrong = "2" + ANSWER[1:]
    puzzle = traced(kind, "." * 15 + "1", [wrong, wrong, ANSWER, ANSWER])
    found = texts(to_svg(draw_steps(kind.picture(16, 6), [puzzle])))
    # The first 2 has another in its row and box, and one in its column.
    assert [text for text in found if len(text) > 1] == ["puzzle", "step 1: 3 wrong", "step 3: solved"]
    assert [text for text in found if len(text) == 1] == ["1", *wrong, *ANSWER]
    many = traced(kind, "." * 16, [str(1 + i % 4) * 16 for i in range(MOST_STEPS + 4)])
    captions = [text for text in texts(to_svg(draw_steps(kind.picture(16, 6), [many]))) if len(text) > 1]
    assert len(captions) == MOST_STEPS + 1
    assert captions[-1].startswith(f"step {MOST_STEPS + 4}:")
    assert len(draw_frames(kind.picture(16, 6), [puzzle])) == 5


def test_colours_are_those_of_the_page():
    css = files("trm.show.html").joinpath("player.css").read_text(encoding="utf-8")
    values = dict(re.findall(r"--(\w+): (#\w+);", css.split("@media")[0]))
    for name, color in FILLS.items():
        (fill,) = re.findall(rf"td\.{name} {{ --fill: ([^;]+);", css)
        assert (values[fill[6:-1]] if fill.startswith("var") else fill) == color


def test_images(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    kind = KINDS["maze"]
    question = "S    " + "#### " * 2 + "     " + "G    "
    puzzle = traced(kind, question, [question, "Soooo" + "####o" * 2 + "ooooo" + "G    "])
    picture = kind.picture(25, 6)
    for ending, frames in ((".png", 1), (".gif", 3)):
        path = tmp_path / f"p{ending}"
        write_pictures(picture, [puzzle], path, ending)
        with image.open(path) as opened:
            assert getattr(opened, "n_frames", 1) == frames
            opened.seek(frames - 1)
            colors = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in opened.convert("RGB").getcolors(1 << 16)}
        assert {FILLS["path"], FILLS["wall"], FILLS["start"], FILLS["goal"]} <= colors


def test_an_answer_of_arc_that_becomes_smaller():
    """Its first boards are drawn whole."""
    kind = KINDS["arc"]
    large, small = (to_frame(np.ones((side, side), np.uint8)).astype(np.int32) for side in (4, 2))
    predictions = np.stack([large, small])[:, None, None]
    q_halt = np.full((2, 1, 1), 0.5, np.float32)
    trace = Trace(predictions, predictions * np.float32(0.1), q_halt, np.zeros((2, 1), bool))
    puzzle = PuzzleTrace(small, None, (judge_attempt(kind, small, None, trace, 0),))
    shapes = draw_steps(kind.picture(900, 12), [puzzle]).shapes
    assert sum(isinstance(shape, Box) and shape.fill == FILLS["arc-1"] for shape in shapes) == 4 + 16 + 4


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    ask = ["render", "sudoku-6x6", "3654.24...5..32.4..4..232....4.....5", "--steps", "2", "-o"]
    code, printed, err = run_trm(capsys, *ask, tmp_path / "p.svg")
    assert (code, err) == (0, "")
    assert printed == f"{tmp_path}/p.svg: 1 of 1 puzzles solved\n"
    assert "puzzle" in texts((tmp_path / "p.svg").read_text(encoding="utf-8"))
    monkeypatch.setitem(sys.modules, "PIL", None)
    check_mistake(capsys, [*ask, str(tmp_path / "p.png")], "Pillow: not installed")
    assert not (tmp_path / "p.png").exists()
