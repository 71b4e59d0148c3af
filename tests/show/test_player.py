"""The player's page: what is in it, and that it asks for nothing."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from arc_model import TASK, write_model
from conftest import check_mistake, in_float32, run_trm
from html_page import read_page

import trm
from trm.puzzles.kinds.kind import Picture
from trm.puzzles.kinds.registry import KINDS
from trm.show.html.player import make_player
from trm.solving.attempt_traces import PuzzleTrace, trace_puzzles

PUZZLE = "3654.24...5..32.4..4..232....4.....5"
NAME = "</script><img src=x onerror=alert(1)>&\u2028"


@pytest.fixture(scope="module")
def traced() -> list[PuzzleTrace]:
    model = in_float32(trm.load("sudoku-6x6"))
    return trace_puzzles(model, model.parse(PUZZLE).astype(np.int32)[None], views=2, steps=4)


@pytest.fixture(scope="module")
def page(traced: list[PuzzleTrace]) -> str:
    return make_player(NAME, KINDS["sudoku"].picture(36, 8), [NAME], traced)


def test_the_page_is_whole_and_has_the_traces(page: str, traced: list[PuzzleTrace]):
    parser = read_page(page)
    assert "img" not in [tag for tag, _ in parser.tags]
    data, script = parser.scripts
    assert "addEventListener" in script
    found = json.loads(data)
    assert (found["steps"], found["cycles"]) == traced[0].attempts[0].q_halt.shape
    (puzzle,) = found["puzzles"]
    assert puzzle["name"] == NAME
    assert puzzle["winner"] == traced[0].winner
    assert len(puzzle["attempts"]) == 2
    for described, attempt in zip(puzzle["attempts"], traced[0].attempts, strict=True):
        tokens = np.frombuffer(base64.b64decode(described["tokens"]), "<u2")
        np.testing.assert_array_equal(tokens.reshape(attempt.predictions.shape), attempt.predictions)
        certain = np.frombuffer(base64.b64decode(described["confidence"]), np.uint8) / 255
        np.testing.assert_allclose(certain.reshape(attempt.confidence.shape), attempt.confidence, atol=1 / 255)
        assert described["solved_after"] == attempt.solved_after


def test_the_page_asks_for_nothing(page: str):
    parser = read_page(page)
    assert not [name for _, attributes in parser.tags for name in attributes if name in ("src", "href", "srcset")]
    # The name of the vocabulary of SVG is no address that is asked.
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", page)
    policies = [a["content"] for _, a in parser.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none';")


def test_pictures_of_all_kinds():
    for name, seq_len, vocab_size in (("sudoku", 36, 8), ("maze", 81, 6), ("arc", 900, 12), ("other", 7, 30)):
        picture = KINDS[name].picture(seq_len, vocab_size)
        assert len(picture.characters) == len(picture.names) == vocab_size
        assert len(picture.classes) in (0, vocab_size)
        assert seq_len % picture.width == 0
    assert KINDS["sudoku"].picture(36, 8).box == (2, 3)
    assert KINDS["other"].picture(7, 3) == Picture(7, ("0", "1", "2"), ("0", "1", "2"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "player.html"
    code, printed, err = run_trm(capsys, "render", "sudoku-6x6", PUZZLE, PUZZLE, "--steps", 3, "-o", out)
    assert (code, err) == (0, "")
    assert printed == f"{out}: 2 of 2 puzzles solved; open it in a browser\n"
    parser = read_page(out.read_text(encoding="utf-8"))
    found = json.loads(parser.scripts[0])
    assert [puzzle["name"] for puzzle in found["puzzles"]] == ["Puzzle 1", "Puzzle 2"]
    assert found["steps"] == 3
    check_mistake(capsys, ["render", "sudoku-6x6", PUZZLE, "-o", str(out)], "already exists")
    check_mistake(
        capsys, ["render", "sudoku-6x6", PUZZLE, "-o", str(tmp_path / "b.html"), "--views", "99"], "at most 64"
    )


@pytest.mark.parametrize("command", ["render", "inspect"])
def test_a_page_that_cannot_be_written(command: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """It is refused before anything is loaded."""
    ask = [command, "nowhere.safetensors", "-o"]
    check_mistake(capsys, [*ask, str(tmp_path / "p.jpg")], "--out: found 'p.jpg', expected a name that ends in .html")
    (tmp_path / "file").touch()
    check_mistake(capsys, [*ask, str(tmp_path / "file" / "p.html")], "cannot write")


def test_a_name_that_is_not_utf8(traced: list[PuzzleTrace]):
    page = make_player("\udcff.safetensors", KINDS["sudoku"].picture(36, 8), ["\udcff"], traced)
    assert "<title>\\udcff.safetensors</title>" in page
    page.encode()


def test_tasks_without_a_known_solution_are_not_counted_as_unsolved(tmp_path: Path, capsys: pytest.CaptureFixture):
    tests = [{"input": [[1]]}, {"input": [[1]], "output": [[2]]}]
    for known, says in ((1, "1 without a known solution"), (2, "0 of 1 puzzles solved, 1 without a known solution")):
        task = json.dumps({"a": TASK | {"test": tests[:known]}})
        out = tmp_path / f"{known}.html"
        code, printed, err = run_trm(capsys, "render", write_model(tmp_path), task, "-o", out)
        assert (code, err) == (0, "")
        assert printed == f"{out}: {says}; open it in a browser\n"
