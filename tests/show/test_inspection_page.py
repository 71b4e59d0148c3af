"""The page of an inspection: its numbers, its form, and that it asks for nothing."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import GOLDEN, check_mistake, run_trm, tiny_config
from html_page import read_page

import trm
from trm.checkpoints.description import Description
from trm.evaluation.inspection import trace_examples
from trm.model.reasoner import Reasoner
from trm.model.weights import Weights
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.reading import read_puzzle_set
from trm.show.inspection.charts import BOTTOM, Axis, Line, column_chart, fit_axis, heat_map, line_chart, percent, table
from trm.show.inspection.page import make_page
from trm.show.inspection.sections import settled_from

NAME = "</script><img src=x onerror=alert(1)>&"


def inspect_at_random(name: str, puzzles: PuzzleSet, **model: Any) -> str:
    """Return the page of an untrained network."""
    config = tiny_config(model={"H_cycles": 1, "L_cycles": 2, "L_layers": 1, **model}, halting={"halt_max_steps": 2})
    metadata = puzzles.metadata
    network = Reasoner(config.model, metadata.vocab_size, metadata.seq_len, key=jax.random.key(0))
    table = np.zeros((metadata.num_puzzle_identifiers, config.model.row_size), np.float32)
    trained = trm.TrainedModel(Weights(network, table), Description("weights", config, metadata, 1, averaged=False))
    found = trm.inspect(trained, puzzles, puzzles=3)
    chosen = found.hardest(2)
    picture = KINDS[name].picture(metadata.seq_len, metadata.vocab_size)
    return make_page(NAME, NAME, picture, found, chosen.tolist(), trace_examples(trained, found, chosen))


@pytest.fixture(scope="module")
def page(splits: dict[str, PuzzleSet]) -> str:
    return inspect_at_random("sudoku", splits["test"])


def test_the_page_is_whole(page: str):
    found = read_page(page)
    titles = [text for text in found.texts if text in ("Does it converge?", "Inside a step", "The hardest puzzles")]
    assert len(titles) == 3
    assert "img" not in [tag for tag, _ in found.tags]
    drawings = [attributes for tag, attributes in found.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(drawings) >= 10
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    assert sum(tag == "table" for tag, _ in found.tags) >= 9
    # Every figure has a sentence on what it shows.
    assert all(re.search(r"</h3><p>[A-Z0-9].*?\.", figure) for figure in page.split("<figure")[1:])
    assert not re.search(r"\bnan\b", " ".join(found.texts))


def test_the_page_asks_for_nothing(page: str):
    found = read_page(page)
    (frame,) = [attributes for tag, attributes in found.tags if tag == "iframe"]
    names = [name for _, attributes in found.tags for name in attributes]
    assert not {"src", "href", "srcset"} & set(names)
    assert read_page(frame["srcdoc"]).tags
    assert not re.findall(r"url\(|@import", page)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maze", "arc"])
def test_boards_of_thirty_by_thirty(name: str):
    puzzles = read_puzzle_set(GOLDEN / f"{name}_small" / "dataset", "test")
    found = read_page(inspect_at_random(name, puzzles))
    assert any("around a cell" in (attributes.get("aria-label") or "") for _, attributes in found.tags)


def test_a_line_is_where_its_values_are():
    drawing = line_chart(
        "label", "step", [1, 2, 3], [Line("a", [0.0, 1.0, float("nan")])], Axis(0.0, 1.0, percent=True)
    )
    (points,) = re.findall(r'polyline class="s0" points="([^"]*)"', drawing)
    assert points == "54.0,200.0 228.0,12.0"
    assert "100 %" in drawing
    assert "a, step 2: 100 %" in drawing


def test_axes_have_room():
    assert (fit_axis([0.03, 0.2]).low, fit_axis([0.03, 0.31]).high) == (0.0, pytest.approx(0.4))
    axis = fit_axis([0.003, 2.0, 0.0], logarithmic=True)
    assert (axis.low, axis.high) == (pytest.approx(0.001), pytest.approx(10.0))
    assert axis.place(0.1) == pytest.approx((200 + 12) / 2)
    assert fit_axis([], logarithmic=True).high == 10.0


def test_columns_and_cells():
    drawing = column_chart("label", "x", ["0", "1", "2"], {"a": [1.0, 0.25]}, Axis(0.0, 1.0))
    heights = [float(height) for height in re.findall(r'rect class="s0" [^>]*height="([^"]*)"', drawing)]
    assert heights == [188.0, 47.0]
    board = heat_map("label", np.array([[4.0, 1.0], [2.0, 0.0]]), mark=(0, 0))
    # The marked cell does not pale the others.
    assert re.findall(r'fill-opacity="([^"]*)"', board) == ["1.00", "0.50", "1.00", "0.00"]


def test_a_share_that_leaves_its_bounds_again_is_not_settled():
    assert settled_from(np.array([0.1, 0.5, 0.3, 0.7, 0.5, 0.6]), 0.4, 0.65) == 5
    assert settled_from(np.array([0.5, 0.6]), 0.4, 0.65) == 1


def test_zero_is_at_the_low_end_of_a_logarithmic_axis():
    axis = fit_axis([0.0, 0.01, 1.0], logarithmic=True)
    assert axis.place(0.0) == axis.place(-1.0) == axis.place(0.01) == BOTTOM
    assert "<polyline" in line_chart("label", "step", [1, 2, 3], [Line("distance", [1.0, 0.01, 0.0])], axis)


def test_words():
    assert [percent(share) for share in (0.0, 1e-6, 0.123, 1.0)] == ["0 %", "under 0.1 %", "12.3 %", "100 %"]
    assert "&lt;b&gt;" in table("<b>", ["a"], [["b"]])


@pytest.mark.slow
def test_the_command(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    check_mistake(capsys, ["inspect", "sudoku-6x6", "--data", str(puzzle_dir)], "vocab_size: found 6, expected 8")
    out = tmp_path / "page.html"
    out.touch()
    check_mistake(capsys, ["inspect", "sudoku-6x6", "--data", str(puzzle_dir), "-o", str(out)], "already exists")
    csv = bundled_csv("sudoku-6x6-test.csv.gz")
    assert run_trm(capsys, "data", "sudoku", tmp_path / "six", "--train", csv, "--test", csv)[0] == 0
    code, printed, err = run_trm(
        capsys, "inspect", "sudoku-6x6", "--data", tmp_path / "six", "--puzzles", 8, "-o", out, "--overwrite"
    )
    assert (code, err) == (0, "")
    assert printed.startswith(f"{out}: 8 puzzles, ")
    assert "sudoku-6x6: how it thinks" in read_page(out.read_text(encoding="utf-8")).texts
