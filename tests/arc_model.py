"""An untrained model of one ARC task, in a file beside the names of its identifiers. Entry: `write_model`."""

import json
from pathlib import Path

import numpy as np
from conftest import tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.kinds.arc.augmentations import Augmentation, name_augmentation
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.metadata import Metadata
from trm.solving.trace import Trace
from trm.training.state import make_state

INPUT, OUTPUT = [[7, 8, 9, 0]], [[1, 2, 3], [4, 5, 6]]
TASK = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": INPUT, "output": OUTPUT}]}
AUGMENTATIONS = [Augmentation(t, np.roll(np.arange(10, dtype=np.uint8), t)) for t in range(8)]
NAMES = ["<blank>", "a", *(name_augmentation("a", augmentation) for augmentation in AUGMENTATIONS[1:])]


def write_model(folder: Path) -> Path:
    """Write the model with an embedding for each augmentation of the task `a`; return its file."""
    (folder / "identifiers.json").write_text(json.dumps(NAMES))
    metadata = Metadata(0, 0, 0, 12, 900, len(NAMES), 1, 1.0, 8, ["all"], "arc")
    config = tiny_config(data={"path": str(folder)}, halting={"halt_max_steps": 2})
    state = fetch(make_state(config, metadata, make_mesh(1)))
    known = fingerprint_names([folder])
    assert known is not None
    description = Description("weights", config, metadata, 1, identity={"identifiers": known}, averaged=True)
    save(folder / "w.safetensors", Weights(state.model, state.puzzle_table), description)
    return folder / "w.safetensors"


def answer_rightly(views: int, wrong: int, cycles: int = 1) -> Trace:
    """Return a step of the first augmentations, each with the augmented output, but the last `wrong` wrongly.

    It is as sure of a cell as the cell's colour is high.
    """
    grids = [augmentation.apply(np.array(OUTPUT, np.uint8)) for augmentation in AUGMENTATIONS[:views]]
    grids[views - wrong :] = [(grid + 1) % 10 for grid in grids[views - wrong :]]
    frames = np.stack([to_frame(grid) for grid in grids]).astype(np.int32)[None, None]
    sure = np.zeros(frames.shape, np.float32)
    for i, grid in enumerate(grids):
        sure[0, 0, i].reshape(30, 30)[: grid.shape[0], : grid.shape[1]] = grid / 10
    q_halt, halts = np.full((1, cycles, views), 0.5, np.float32), np.zeros((1, views), bool)
    return Trace(np.repeat(frames, cycles, 1), np.repeat(sure, cycles, 1), q_halt, halts)
