"""A tiny run for scripts that measure the trainer, not the network: 4x4 Sudokus, a step of a few milliseconds.

Entry: `tiny_config`; `TINY`, its network.
"""

from pathlib import Path

import numpy as np

from trm.configuration.reading import config_from_tables
from trm.configuration.schema import Config
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku.generate import generate_many
from trm.puzzles.kinds.tables import Table
from trm.puzzles.writing import write_puzzle_set

BATCH, TRAIN_PUZZLES, TEST_PUZZLES = 8, 40, 64
TINY = {
    "model": {
        "hidden_size": 16,
        "num_heads": 2,
        "expansion": 1.0,
        "L_layers": 1,
        "H_cycles": 2,
        "L_cycles": 2,
        "puzzle_emb_ndim": 16,
        "puzzle_emb_len": 2,
        "forward_dtype": "float32",
    },
    "halting": {"halt_max_steps": 4},
    "optimizer": {"lr": 1e-3, "lr_warmup_steps": 2},
}
"""A network that compiles in seconds."""


def tiny_config(folder: Path, steps: int, eval_steps: int, checkpoint_steps: int) -> Config:
    """Return the configuration of a run; its puzzles are generated, unless the folder has them."""
    if not folder.exists():
        puzzles = list(generate_many(4, TRAIN_PUZZLES + TEST_PUZZLES, seed=0))
        table = Table(*(np.array(column) for column in zip(*puzzles, strict=True)))
        parts = {"train": slice(TRAIN_PUZZLES), "test": slice(TRAIN_PUZZLES, None)}
        splits = {
            name: sudoku_build.build_split(
                name, Table(*(column[part] for column in table)), np.random.default_rng(0), online_augmentation=True
            )
            for name, part in parts.items()
        }
        write_puzzle_set(folder, splits, ["<blank>"])
    per_epoch = TRAIN_PUZZLES // BATCH
    return config_from_tables(
        TINY
        | {
            "data": {"path": str(folder.absolute())},
            "train": {
                "global_batch_size": BATCH,
                "epochs": max(1, steps // per_epoch),
                "eval_interval": max(1, eval_steps // per_epoch),
                "checkpoint_interval_steps": checkpoint_steps,
            },
        }
    )
