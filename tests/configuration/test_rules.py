"""Warnings of settings without effect: each where it applies, and none where it does not."""

import pytest

from trm.configuration.reading import config_from_tables, read_config
from trm.configuration.rules import warnings_of
from trm.storage.bundled import config_names, config_path

NO_TABLE = ["model.puzzle_emb_ndim=0"]
MLP = ["model.mixer=mlp", "model.positions=none"]


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        (
            [],
            500,
            ["optimizer.lr_warmup_steps: found 2,000, longer than the run of 500 steps: ", "optimizer.ema_rate: "],
        ),
        ([], 1_999, ["optimizer.lr_warmup_steps: found 2,000"]),
        ([], 2_000, []),
        (
            ["optimizer.lr_warmup_steps=0"],
            500,
            [
                "optimizer.ema_rate: found 0.999, an average over about 1,000 steps, longer than the 500 steps "
                "averaged: 61% of the average are its first weights"
            ],
        ),
        (["optimizer.lr_warmup_steps=0", "optimizer.ema=false"], 500, []),
        (
            ["optimizer.ema_start_step=3_001"],
            3_000,
            ["optimizer.ema_start_step: found 3,001, after the end of the run"],
        ),
        (["optimizer.ema_start_step=2_500"], 3_000, ["optimizer.ema_rate: found 0.999, an average over about 1,000"]),
        (["optimizer.ema_start_step=1_500"], 3_000, []),
        (
            ["train.epochs=20", "train.eval_interval=10", "train.patience=2"],
            9_000,
            ["train.patience: found 2, but the"],
        ),
        (["train.epochs=21", "train.eval_interval=10", "train.patience=2"], 9_000, []),
        (
            ["train.epochs=20", "train.eval_interval=10", "train.min_eval_interval=2"],
            9_000,
            ["train.min_eval_interval:"],
        ),
        (["train.epochs=20", "train.eval_interval=10", "train.min_eval_interval=1"], 9_000, []),
        (["train.checkpoint_interval_steps=9_001"], 9_000, ["train.checkpoint_interval_steps: found 9,001, longer"]),
        (["train.checkpoint_interval_steps=9_000"], 9_000, []),
        (
            ["train.curriculum=[[0.00001, 1, 6], [0.5, 2, 6]]"],
            9_000,
            ["train.curriculum: found stage [1e-05, 1, 6], which no step of 9,000 falls into"],
        ),
        (["train.curriculum=[[0.3, 1, 6], [0.5, 2, 6]]"], 9_000, []),
        ([*MLP, "model.num_heads=4"], 9_000, ["model.num_heads: found 4, which has no effect with mixer 'mlp'"]),
        (
            [*MLP, "model.rope_theta=100"],
            9_000,
            ["model.rope_theta: found 100.0, which has no effect with mixer 'mlp'"],
        ),
        (MLP, 9_000, []),
        (
            ["model.positions=learned", "model.rope_theta=9"],
            9_000,
            ["model.rope_theta: found 9.0, which has no effect"],
        ),
        (["model.num_heads=4", "model.rope_theta=100"], 9_000, []),
        ([*NO_TABLE, "model.puzzle_emb_len=4"], 9_000, ["model.puzzle_emb_len: found 4, which has no effect without"]),
        ([*NO_TABLE, "optimizer.puzzle_emb_lr=1"], 9_000, ["optimizer.puzzle_emb_lr: found 1.0, which has no effect"]),
        (
            [*NO_TABLE, "optimizer.puzzle_emb_weight_decay=1"],
            9_000,
            ["optimizer.puzzle_emb_weight_decay: found 1.0, which has no effect without puzzle embeddings"],
        ),
        (NO_TABLE, 9_000, []),
        (["model.puzzle_emb_len=4", "optimizer.puzzle_emb_lr=1"], 9_000, []),
        (["model.L_cycles=1", "model.unroll=true"], 9_000, ["model.unroll: found True, which has no effect"]),
        (["model.unroll=true"], 9_000, []),
        (
            ["train.random_start_std=2"],
            9_000,
            ["train.random_start_std: found 2.0, which has no effect with random_st"],
        ),
        (["train.random_start_std=2", "train.random_starts=0.5"], 9_000, []),
        (["train.anchor_errors=0.1"], 9_000, ["train.anchor_errors: found 0.1, which has no effect with anchors 0"]),
        (["train.anchor_errors=0.1", "train.anchors=0.5"], 9_000, []),
        (
            ["halting.act_enabled=false", "halting.halt_exploration_prob=0.2"],
            9_000,
            ["halting.halt_exploration_prob: found 0.2, which has no effect with act_enabled false"],
        ),
        (["halting.act_enabled=false"], 9_000, []),
        (
            ["halting.halt_max_steps=1", "halting.q_continue=learned", "loss.step_decay=0.5"],
            9_000,
            [
                "halting.q_continue: found 'learned', which has no effect with halt_max_steps 1",
                "loss.step_decay: found 0.5",
            ],
        ),
        (["optimizer.freeze_weights=true", "optimizer.beta1=0.5"], 9_000, ["optimizer.beta1: found 0.5, which has no"]),
        (["optimizer.freeze_weights=true"], 9_000, []),
    ],
)
def test_each_warning(settings: list[str], steps: int, expected: list[str]):
    found = warnings_of(config_from_tables({}, settings), steps)
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)
        assert "\n" not in line


@pytest.mark.parametrize("name", config_names())
def test_the_bundled_configurations_set_nothing_in_vain(name: str):
    assert warnings_of(read_config(config_path(name)), 10_000) == []
