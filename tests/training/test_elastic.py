"""A run that is resumed with other devices than it began with: the same order of puzzles, losses within rounding."""

import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import tiny_config

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.training.checkpoints import newest_checkpoint
from trm.training.run import train
from trm.training.state import TrainState, load_state


def state_of(run: Path) -> TrainState:
    newest = newest_checkpoint(run)
    assert newest is not None
    return load_state(newest)[0]


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["train/lm_loss"] for line in lines if "train/lm_loss" in line]


def train_until(config: Config, run: Path, devices: int, last: int) -> None:
    """Train, and stop after a step as a machine that is taken away does."""

    def hook(line: dict) -> None:
        if line["step"] == last and "train/lm_loss" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    train(config, run, make_mesh(devices), resume=True, hooks=[hook])


@pytest.mark.slow
@pytest.mark.parametrize("refill", ["slot", "queue"])
def test_one_device_to_four_to_two(refill: str, puzzle_dir: Path, tmp_path: Path):
    halting = {"refill": refill, "halt_max_steps": 4, "halt_exploration_prob": 0.5}
    config = tiny_config(data={"path": str(puzzle_dir)}, halting=halting)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(config, whole, make_mesh(1))
    used = set()
    for devices, last in ((1, 4), (4, 9), (2, 15)):
        train_until(config, run, devices, last)
        used.add(state_of(run).step.item())
    # It really was stopped under way, twice.
    assert len(used) == 3
    assert max(used) == 15
    for (key, a), (_, b) in zip(*map(jax.tree.leaves_with_path, (state_of(run), state_of(whole))), strict=True):
        name = jax.tree_util.keystr(key)
        if np.issubdtype(a.dtype, np.integer):
            # Among them the puzzles in the slots, and their steps.
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            # As in test_train_step: 15 steps of float32 in another order.
            atol = 1e-4 if "latents" in name else 5e-6
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)
    assert len(losses(run)) == 15
    assert losses(run) == pytest.approx(losses(whole), abs=1e-4)


@pytest.mark.parametrize(
    ("batch", "microbatches", "devices", "says"),
    [
        (8, 0, 3, "found 8, expected a multiple of 3 (3 devices), such as 6 or 9; or --devices 2"),
        (8, 4, 4, "found 8, expected a multiple of 16 (4 devices x 4 microbatches), such as 16; or --devices 2"),
        (4, 4, 2, "found 4, expected a multiple of 8 (2 devices x 4 microbatches), such as 8; or --devices 1"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_told_which_could_before_anything_compiles(
    batch: int,
    microbatches: int,
    devices: int,
    says: str,
    puzzle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    rules = {"global_batch_size": batch, "microbatches": microbatches}
    config = tiny_config(data={"path": str(puzzle_dir)}, train=rules)
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("something was compiled"))
    with pytest.raises(InputError) as error:
        train(config, tmp_path / "run", make_mesh(devices))
    assert str(error.value) == f"train.global_batch_size: {says}"
    assert not (tmp_path / "run").exists()
