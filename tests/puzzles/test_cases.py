"""Files as people have them, from the reader to the command line, against the known answers of their puzzles."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.errors import InputError
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze.rules import shortest_path
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku.generate import solve
from trm.puzzles.text.decode import read_text
from trm.solving.answer import Answer
from trm.solving.trained_model import TrainedModel
from trm.training.state import make_state

FOLDER = Path(__file__).parent.parent / "cases" / "puzzles"
CASES = json.loads((FOLDER / "expected.json").read_text())
SIDE = 9
SAYS = {
    "contradictory clues: two 9 in a row": [
        "contradictory clues: two 9 in a row",
        "row 1, column 2",
        "row 1, column 3",
    ],
    "5 rows of 13 cells, the model has 9x9": ["found 5 rows of 13 cells, expected 9x9"],
    "no way from S to G": ["no way from S to G"],
    "a 6x6 grid for a 9x9 model": ["found a 6x6 board", "expected 9x9"],
}
"""What a line of ours says where the error is expected."""


def answer(kind: str, tokens: np.ndarray) -> np.ndarray:
    """Answer a question by exact means; a Sudoku must have exactly one answer."""
    if kind == "maze":
        return shortest_path(tokens.reshape(1, SIDE, SIDE)).ravel()
    (board,) = solve(tokens.reshape(SIDE, SIDE).astype(np.int64) - 1).boards
    return board.ravel() + 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an untrained model of 9x9 cells for each kind."""
    folder = tmp_path_factory.mktemp("models")
    sets = {"sudoku": sudoku_build.metadata_of(4, SIDE), "maze": maze_build.metadata_of(4, SIDE)}
    for kind, metadata in sets.items():
        state = fetch(make_state(tiny_config(), metadata, make_mesh(1)))
        weights = Weights(state.model, state.puzzle_table)
        save(folder / kind, weights, Description("weights", tiny_config(), metadata, 1, averaged=True))
    return {kind: folder / kind for kind in sets}


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_reader(case: dict):
    kind, path = KINDS[case["kind"]], FOLDER / case["file"]
    if "error" in case:
        problems = []
        try:
            problems = [kind.problem(question.tokens) for question in kind.read(read_text(path), "x", SIDE * SIDE)]
            said = " ".join(problem.text for problem in problems if problem and problem.hopeless)
        except InputError as error:
            said = str(error)
        assert all(part in said for part in SAYS[case["error"]]), said
        return
    questions = [question.tokens for question in kind.read(read_text(path), "x", SIDE * SIDE)]
    assert [kind.format(answer(case["kind"], tokens)) for tokens in questions] == case["answers"]
    assert [kind.problem(tokens) for tokens in questions] == [None] * len(questions)
    # What is known of the size is needed by none of them.
    same = [question.tokens for question in kind.read(read_text(path), "x")]
    np.testing.assert_array_equal(same, questions)


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_command_line(
    case: dict, models: dict[str, Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """The whole command; only the network is replaced, by exact solvers."""

    def solve_exactly(model: TrainedModel, questions: np.ndarray, **options) -> list[Answer]:
        answers = [answer(case["kind"], tokens) for tokens in questions]
        return [
            Answer(question, tokens, model.kind.format(tokens), True, 1.0, True, 1, 1)
            for question, tokens in zip(questions, answers, strict=True)
        ]

    monkeypatch.setattr(TrainedModel, "solve", solve_exactly)
    command = ["solve", str(models[case["kind"]]), str(FOLDER / case["file"]), "--format", "plain"]
    if "error" in case:
        for part in [case["file"], *SAYS[case["error"]]]:
            check_mistake(capsys, command, part)
        return
    code, out, err = run_trm(capsys, *command)
    assert (code, err) == (0, "")
    assert out == "".join(line + "\n" for line in case["answers"])
