"""Traces of ARC tasks: augmentations are undone on answers and confidence, and the page shows them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import run_trm, tiny_config

import trm
from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.kinds.arc.augmentations import Augmentation, name_augmentation
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.tasks import parse_tasks
from trm.puzzles.metadata import Metadata
from trm.solving import arc_traces
from trm.solving.trace import Trace
from trm.training.state import make_state

OUTPUT = [[1, 2, 3], [4, 5, 6]]
TASK = json.dumps(
    {"a": {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[7, 8, 9, 0]], "output": OUTPUT}]}}
)
AUGMENTATIONS = [Augmentation(t, np.roll(np.arange(10, dtype=np.uint8), t)) for t in range(8)]
NAMES = ["<blank>", "a", *(name_augmentation("a", augmentation) for augmentation in AUGMENTATIONS[1:])]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an untrained model with an embedding for each augmentation."""
    folder = tmp_path_factory.mktemp("arc")
    (folder / "identifiers.json").write_text(json.dumps(NAMES))
    metadata = Metadata(0, 0, 0, 12, 900, len(NAMES), 1, 1.0, 8, ["all"], "arc")
    config = tiny_config(data={"path": str(folder)}, halting={"halt_max_steps": 2})
    state = fetch(make_state(config, metadata, make_mesh(1)))
    known = fingerprint_names([folder])
    assert known is not None
    description = Description("weights", config, metadata, 1, identity={"identifiers": known}, averaged=True)
    save(folder / "w.safetensors", Weights(state.model, state.puzzle_table), description)
    return folder / "w.safetensors"


def test_augmentations_are_undone(weights: Path, monkeypatch: pytest.MonkeyPatch):
    seen = {}

    def answer_rightly(*arguments: object) -> Trace:
        """Answer each augmentation with the augmented output, but the last wrongly; as sure as the place is far."""
        seen["inputs"], seen["identifiers"] = arguments[2:4]
        grids = [augmentation.apply(np.array(OUTPUT, np.uint8)) for augmentation in AUGMENTATIONS]
        grids[-1] = (grids[-1] + 1) % 10
        frames = np.stack([to_frame(grid) for grid in grids]).astype(np.int32)[None, None]
        sure = np.zeros(frames.shape, np.float32)
        for i, grid in enumerate(grids):
            sure[0, 0, i].reshape(30, 30)[: grid.shape[0], : grid.shape[1]] = grid / 10
        return Trace(frames, sure, np.full((1, 1, 8), 0.5, np.float32), np.zeros((1, 8), bool))

    monkeypatch.setattr(arc_traces, "trace", answer_rightly)
    (puzzle,), titles = arc_traces.trace_tasks(trm.load(weights), parse_tasks(TASK, "task"), NAMES, views=8)
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


def test_the_page_of_a_task(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "arc.html"
    code, printed, err = run_trm(capsys, "render", weights, TASK, "--views", 3, "-o", out)
    assert (code, err) == (0, "")
    assert "of 1 puzzles solved" in printed
    page = out.read_text(encoding="utf-8")
    data = json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)[0])
    assert len(data["puzzles"][0]["attempts"]) == 3
    assert data["steps"] == 2
    # The colours of the ARC web site, 0 to 9.
    colors = [re.findall(rf"td\.arc-{i} {{ --fill: (#\w+);", page)[0] for i in range(10)]
    assert colors == "#000000 #0074d9 #ff4136 #2ecc40 #ffdc00 #aaaaaa #f012be #ff851b #7fdbff #870c25".split()
