"""Traces of ARC tasks: augmentations are undone on answers and confidence, and the page shows them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from arc_model import AUGMENTATIONS, NAMES, OUTPUT, TASK, answer_rightly, write_model
from conftest import run_trm

import trm
from trm.puzzles.kinds.arc.tasks import parse_tasks
from trm.solving import arc_traces
from trm.solving.trace import Trace


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("arc"))


def test_augmentations_are_undone(weights: Path, monkeypatch: pytest.MonkeyPatch):
    seen = {}

    def answer(*arguments: object) -> Trace:
        seen["inputs"], seen["identifiers"] = arguments[2:4]
        return answer_rightly(views=8, wrong=1)

    monkeypatch.setattr(arc_traces, "trace", answer)
    tasks = parse_tasks(json.dumps({"a": TASK}), "task")
    (puzzle,), titles = arc_traces.trace_tasks(trm.load(weights), tasks, NAMES, views=8)
    assert titles == ["a: test input 1 of 1"]
    assert seen["identifiers"].tolist() == list(range(1, 9))
    assert puzzle.question.reshape(30, 30)[:2, :5].tolist() == [[9, 10, 11, 2, 0], [0] * 5]
    expected = np.zeros((30, 30), int)
    expected[:2, :3] = np.array(OUTPUT) + 2
    for augmentation, attempt in zip(AUGMENTATIONS[:-1], puzzle.attempts[:-1], strict=True):
        np.testing.assert_array_equal(attempt.predictions[0, 0].reshape(30, 30), expected)
        assert attempt.solved_after == 1
        assert not attempt.wrong.any()
        # Each cell is as sure as the network's cell that it comes from.
        sure = np.zeros((30, 30), np.float32)
        sure[:2, :3] = augmentation.colors[np.array(OUTPUT)] / 10
        np.testing.assert_array_equal(attempt.confidence[0, 0].reshape(30, 30), sure)
    assert puzzle.attempts[-1].solved_after is None
    assert puzzle.attempts[-1].wrong.sum() == 6


def test_a_streamed_test_input_is_traced_step_by_step(weights: Path):
    model = trm.load(weights)
    (task,) = parse_tasks(json.dumps({"a": TASK}), "task")
    (puzzle,), _ = arc_traces.trace_tasks(model, [task], NAMES, views=3, steps=2)
    streamed = list(arc_traces.stream_test(model, task.pairs[-1], [1, 2, 3], NAMES, steps=2))
    assert len(streamed) == 2
    for step, attempts in enumerate(streamed):
        for attempt, whole in zip(attempts, puzzle.attempts, strict=True):
            np.testing.assert_array_equal(attempt.predictions[0], whole.predictions[step])
            np.testing.assert_array_equal(attempt.wrong[0], whole.wrong[step])
            assert attempt.way == whole.way


def test_the_page_of_a_task(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "arc.html"
    code, printed, err = run_trm(capsys, "render", weights, json.dumps({"a": TASK}), "--views", 3, "-o", out)
    assert (code, err) == (0, "")
    assert "of 1 puzzles solved" in printed
    page = out.read_text(encoding="utf-8")
    data = json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)[0])
    assert len(data["puzzles"][0]["attempts"]) == 3
    assert data["steps"] == 2
    # The colours of the ARC web site, 0 to 9.
    colors = [re.findall(rf"td\.arc-{i} {{ --fill: (#\w+);", page)[0] for i in range(10)]
    assert colors == "#000000 #0074d9 #ff4136 #2ecc40 #ffdc00 #aaaaaa #f012be #ff851b #7fdbff #870c25".split()
