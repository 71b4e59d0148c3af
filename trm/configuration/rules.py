"""Settings without effect: keys that a configuration sets and a run does not use. Entry: `warnings_of`."""

import math
from collections.abc import Iterator

from trm.configuration.schema import Config, HaltingConfig, ModelConfig, OptimizerConfig, TrainConfig


def warnings_of(config: Config, total_steps: int) -> list[str]:
    """Return one line for each setting that has no effect in a run of `total_steps` training steps."""
    return [
        *(f"optimizer.{line}" for line in _schedule(config.optimizer, total_steps)),
        *(f"train.{line}" for line in _run(config.train, total_steps)),
        *(f"model.{line}" for line in _model(config.model)),
        *(f"halting.{line}" for line in _halting(config.halting)),
        *_across(config),
    ]


def _schedule(rules: OptimizerConfig, steps: int) -> Iterator[str]:
    """Yield a line for each interval longer than the run. Defaults count: they suit runs of 10,000 steps and more."""
    if rules.lr_warmup_steps > steps:
        share = steps / rules.lr_warmup_steps
        yield (
            f"lr_warmup_steps: found {rules.lr_warmup_steps:,}, longer than the run of {steps:,} steps: "
            f"the learning rate ends at {share:.0%} of its peak"
        )
    if not rules.ema or rules.freeze_weights:
        return
    if rules.ema_start_step > steps:
        yield (
            f"ema_start_step: found {rules.ema_start_step:,}, after the end of the run of {steps:,} steps: "
            f"the average equals the last weights"
        )
        return
    length, averaged = 1 / (1 - rules.ema_rate), steps - max(0, rules.ema_start_step - 1)
    if length > averaged:
        yield (
            f"ema_rate: found {rules.ema_rate}, an average over about {length:,.0f} steps, longer than the "
            f"{averaged:,} steps averaged: {rules.ema_rate**averaged:.0%} of the average are its first weights"
        )


def _run(rules: TrainConfig, steps: int) -> Iterator[str]:
    if not rules.random_starts:
        yield from _without_effect(rules, "random_start_std", "with random_starts 0")
    if not rules.anchors:
        yield from _without_effect(rules, "anchor_errors", "with anchors 0")
    intervals = rules.epochs // rules.eval_interval
    evaluations = max(1, math.ceil(rules.epochs / rules.eval_interval) - rules.min_eval_interval)
    if rules.min_eval_interval and rules.min_eval_interval >= intervals:
        yield (
            f"min_eval_interval: found {rules.min_eval_interval}, but the run has {intervals} intervals: "
            f"the only evaluation is at the end"
        )
    if rules.patience and rules.patience >= evaluations:
        yield f"patience: found {rules.patience}, but the run has {evaluations} evaluations: it never ends early"
    if rules.checkpoint_interval_steps > steps:
        yield (
            f"checkpoint_interval_steps: found {rules.checkpoint_interval_steps:,}, longer than the run of {steps:,} "
            f"steps: checkpoints are saved at evaluations only"
        )
    before = 0
    for until, H_cycles, L_cycles in rules.curriculum:
        # The last step of the stage, as the curriculum counts.
        if int(until * steps) == before:
            yield f"curriculum: found stage {[until, H_cycles, L_cycles]}, which no step of {steps:,} falls into"
        before = int(until * steps)


def _model(model: ModelConfig) -> Iterator[str]:
    if model.mixer == "mlp":
        yield from _without_effect(model, "num_heads rope_theta", "with mixer 'mlp'")
    elif not model.positions.startswith("rope"):
        yield from _without_effect(model, "rope_theta", f"with positions {model.positions!r}")
    if not model.row_size:
        yield from _without_effect(model, "puzzle_emb_len", "without puzzle embeddings (puzzle_emb_ndim 0)")
    if model.L_cycles == 1:
        yield from _without_effect(model, "unroll", "with L_cycles 1")


def _halting(halting: HaltingConfig) -> Iterator[str]:
    if not halting.act_enabled:
        yield from _without_effect(halting, "halt_exploration_prob", "with act_enabled false")
    elif halting.halt_max_steps == 1:
        yield from _without_effect(
            halting, "halt_exploration_prob act_enabled q_continue act_inference", "with halt_max_steps 1"
        )


def _across(config: Config) -> Iterator[str]:
    without = "without puzzle embeddings (model.puzzle_emb_ndim 0)"
    lines = []
    if not config.model.row_size:
        lines += _without_effect(config.optimizer, "puzzle_emb_lr puzzle_emb_weight_decay", without)
    if config.optimizer.freeze_weights:
        lines += _without_effect(config.optimizer, "lr beta1 beta2 weight_decay ema_rate", "with freeze_weights true")
    yield from (f"optimizer.{line}" for line in lines)
    if config.halting.halt_max_steps == 1:
        yield from (
            f"loss.{line}" for line in _without_effect(config.loss, "step_decay", "with halting.halt_max_steps 1")
        )


def _without_effect(section: object, names: str, when: str) -> Iterator[str]:
    """Yield a line for each key that differs from its default although the run does not read it."""
    for name in names.split():
        found, default = getattr(section, name), getattr(type(section), name)
        if found != default:
            yield f"{name}: found {found!r}, which has no effect {when}"
