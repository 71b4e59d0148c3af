"""Evaluation: every puzzle counts once, on any number of devices, and agrees with inference."""

import io
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from rich.console import Console

from trm.errors import InputError
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Predictions, Report
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.arc import frames as arc_frames
from trm.puzzles.kinds.arc.draw import draw_grid
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import rules as maze_rules
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.maze.draw import draw_maze
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku.draw import draw_sudoku
from trm.puzzles.kinds.tables import Table
from trm.show.terminal import draw_example, draw_reasoning, side_by_side
from trm.solving.reason import AnswersByStep, answer_every_step, reason
from trm.supervision.batch import Batch
from trm.training.state import make_state, trained_weights

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def weights(splits: dict[str, PuzzleSet]) -> Weights:
    """Return weights whose halting head has an opinion: it stops about half of the puzzles at each step."""
    weights = trained_weights(make_state(CONFIG, splits["test"].metadata, make_mesh(1)))
    head = jax.random.normal(jax.random.key(1), (16, 2))
    weights = eqx.tree_at(lambda w: (w.model.q_head.weight, w.model.q_head.bias), weights, (head, jnp.zeros(2)))
    q_halt = reason(weights, jnp.asarray(splits["test"].sets["all"].inputs, jnp.int32), steps=1).outputs.q_halt_logits
    return eqx.tree_at(lambda w: w.model.q_head.bias, weights, jnp.array([-jnp.median(q_halt), 0.0]))


def run(
    weights: Weights,
    puzzles: PuzzleSet,
    batch_size: int,
    devices: int = 1,
    pieces: int = 1,
    halting: dict | None = None,
) -> Report:
    mesh = make_mesh(devices)
    weights = place(weights, mesh, REPLICATED)
    config = tiny_config(train={"microbatches": pieces}, halting=halting or {})
    return evaluate_every_step(make_evaluation_step(config, mesh), weights, puzzles, batch_size, mesh)["all"]


def exact_by_step(report: Report) -> list[float]:
    return [row.accuracy.exact for row in report.by_compute]


def test_report_agrees_with_inference(weights: Weights, splits: dict[str, PuzzleSet]):
    """Ten puzzles in batches of four: the last batch is padded."""
    puzzles = splits["test"]
    report = run(weights, puzzles, 4)
    arrays = puzzles.sets["all"]
    reasoning = answer_every_step(weights, CONFIG, arrays.inputs.astype(np.int32), np.zeros(10, np.int32))
    right = reasoning.predictions == arrays.labels
    assert report.examples == 10
    assert [row.steps for row in report.by_compute] == [1, 2, 3, 4]
    np.testing.assert_allclose([row.accuracy.token for row in report.by_compute], right.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(exact_by_step(report), right.all(-1).mean(-1), rtol=1e-6)
    assert report.metrics["accuracy"] == pytest.approx(report.by_compute[-1].accuracy.token)
    assert report.metrics["steps"] == 4
    halting = reasoning.halting_steps
    assert len(set(halting.tolist())) > 1
    assert report.metrics["halting_steps"] == pytest.approx(halting.mean())
    exact = right.all(-1)[halting - 1, np.arange(10)]
    assert report.metrics["halting_exact_accuracy"] == pytest.approx(exact.mean())

    # With act_inference the answers at halting are those that count.
    early = run(weights, puzzles, 4, halting={"act_inference": True})
    assert early.metrics["steps"] == pytest.approx(halting.mean())
    assert early.metrics["accuracy"] == pytest.approx(right[halting - 1, np.arange(10)].mean())
    assert early.by_compute == report.by_compute
    assert early.metrics["accuracy"] != pytest.approx(report.metrics["accuracy"])


@pytest.mark.slow
@pytest.mark.skipif(len(jax.devices()) < 4, reason="needs four devices")
def test_devices_and_batch_sizes_agree(weights: Weights, splits: dict[str, PuzzleSet]):
    # Two steps: a random network amplifies rounding from one step to the next.
    steps = {"halt_max_steps": 2}
    one = run(weights, splits["test"], 10, halting=steps)
    for batch_size, devices, pieces in ((4, 1, 1), (4, 1, 2), (4, 2, 1), (4, 4, 1), (16, 4, 2)):
        other = run(weights, splits["test"], batch_size, devices, pieces, steps)
        assert other.examples == one.examples
        assert other.metrics == pytest.approx(one.metrics, rel=1e-5)
        assert exact_by_step(other) == pytest.approx(exact_by_step(one))
    with pytest.raises(InputError, match="batch size: found 6, expected a multiple of 4 devices"):
        run(weights, splits["test"], 6, 4)
    with pytest.raises(InputError, match=r"batch size: found 5 per device, expected a multiple of 2 \(train.microb"):
        run(weights, splits["test"], 10, 2, pieces=2)


def test_any_shortest_path_counts_in_mazes(weights: Weights):
    """Three mazes answered with the label, with another shortest path, with none; in batches of two."""
    mazes = [
        m for m in maze_generator.generate_many(7, 20, seed=0) if maze_rules.count_shortest_paths(m.question[None]) > 1
    ]
    table = Table.of(mazes[:3])
    label, question = table.answers[1], table.questions[1]
    draws = maze_rules.shortest_path(np.repeat(question[None], 50, axis=0), np.random.default_rng(0))
    another = next(draw for draw in draws if (draw != label).any())
    padding = np.zeros_like(label)
    batches = iter([[table.answers[0], another], [table.questions[2], padding]])

    def step(weights: Weights, batch: Batch) -> tuple[dict[str, jax.Array], tuple[jax.Array, jax.Array]]:
        answers = jnp.array(next(batches)).astype(jnp.int32).reshape(2, -1)
        labelled = (batch.labels >= 0).any(axis=1)
        right = (answers == batch.labels).all(axis=1) & labelled
        sums = {"count": labelled.sum(), "exact_accuracy": right.sum()}
        sums |= {name: right.sum(keepdims=True) for name in ("accuracy_by_step", "exact_accuracy_by_step")}
        return jax.tree.map(lambda total: total.astype(jnp.float32), sums), (answers, jnp.zeros(2))

    seen: list[Predictions] = []
    report = evaluate_every_step(step, weights, maze_build.build_split("mazes", table), 2, make_mesh(1), seen.append)[
        "all"
    ]
    assert [batch.predictions.shape for batch in seen] == [(2, 49), (2, 49)]
    np.testing.assert_array_equal(seen[0].inputs, table.questions[:2].reshape(2, -1))
    assert report.metrics["exact_accuracy"] == pytest.approx(1 / 3)
    assert report.metrics["shortest_path_accuracy"] == pytest.approx(2 / 3)


def test_halting_steps_by_hand():
    halts = np.array([[False, True, False], [False, False, True], [False, True, False]])
    reasoning = AnswersByStep(np.zeros((3, 3, 1), np.int32), np.zeros((3, 3), np.float32), halts)
    assert reasoning.halting_steps.tolist() == [3, 1, 2]


def test_drawings_of_mazes_and_grids():
    mazes = maze_text.parse_maze("S #" + "  " + "#" * 19 + "G", "x")
    drawn = draw_maze(maze_rules.shortest_path(mazes[None])[0]).plain.splitlines()
    assert drawn[0] == "S   ##    "
    assert drawn[-1] == "########G "
    grid = np.array([[0, 5], [9, 1], [2, 3]], np.uint8)
    frame = arc_frames.to_frame(grid, 3, 4)
    drawing = draw_grid(frame.reshape(30, 30))
    # What is drawn ends with the markers.
    assert drawing.plain.splitlines()[:3] == ["0 5   ", "9 1   ", "2 3   "]
    assert draw_grid(np.zeros((30, 30), np.uint8)).plain == ""
    assert list(draw_example(KINDS["maze"], mazes.ravel(), mazes.ravel())) == ["first puzzle", "answer"]
    assert draw_example(KINDS["other"], mazes.ravel(), mazes.ravel()) == {}


def test_drawings(tmp_path: Path):
    question = np.zeros((4, 4), int)
    question[0, 0] = 1
    answer = sudoku_generator.solve(question, limit=1).boards[0]
    drawn = draw_sudoku(question, question).plain.splitlines()
    assert drawn == [" 1 · | · ·", " · · | · ·", "-----+-----", " · · | · ·", " · · | · ·"]
    wrong = answer.copy()
    wrong[3, 3] = wrong[3, 3] % 4 + 1
    styles = {str(span.style) for span in draw_sudoku(question, wrong, answer).spans}
    assert {"bold", "green", "bold red"} <= styles

    console = Console(width=120, file=(tmp_path / "out").open("w"))
    boards = np.stack([question, wrong, wrong, answer, answer])
    console.print(
        draw_reasoning(
            KINDS["sudoku"],
            question.ravel() + 1,
            boards.reshape(len(boards), -1) + 1,
            answer.ravel() + 1,
            console.width,
        )
    )
    console.file.close()
    text = (tmp_path / "out").read_text()
    # Steps that changed nothing are left out.
    assert [title in text for title in ("step 1", "step 2", "step 3", "step 4", "step 5")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert "1 wrong" in text
    assert "solved" in text


def test_drawings_that_do_not_fit_side_by_side():
    """They lie below each other; a line that is wider than the console is cut, and none is broken."""
    drawing = draw_maze(np.full((10, 10), 1))
    for width, lines in ((44, 11), (42, 22), (15, 22)):
        console = Console(file=io.StringIO(), width=width)
        console.print(side_by_side({"first": drawing, "second": drawing}, console.width))
        assert isinstance(console.file, io.StringIO)
        assert len(console.file.getvalue().splitlines()) == lines


@pytest.mark.parametrize("width", [60, 80, 200])
def test_drawings_fit_the_console(width: int):
    """A line holds as many boards as fit, and no board is broken."""
    rng = np.random.default_rng(0)
    question = rng.integers(0, 7, (6, 6))
    boards, answer = rng.integers(1, 7, (9, 6, 6)), rng.integers(1, 7, (6, 6))
    console = Console(file=io.StringIO(), width=width)
    console.print(
        draw_reasoning(
            KINDS["sudoku"],
            question.ravel() + 1,
            boards.reshape(len(boards), -1) + 1,
            answer.ravel() + 1,
            console.width,
        )
    )
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    # Titles, six rows with two rules between them, and what is wrong.
    assert len(lines) == 1 + 8 + 1
    assert max(map(len, lines)) <= width
    assert lines[0].split("   ")[0].strip() == "puzzle"
    assert lines[0].endswith("step 9")
    assert lines[0].count("step") == {60: 2, 80: 3, 200: 9}[width]
