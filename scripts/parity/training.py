"""Whole loops: training steps in a row with their optimisers, and the evaluation of a puzzle set."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from trm.errors import InputError
from trm.evaluation.every_step import evaluate_every_step, make_evaluation_step
from trm.model.reasoner import Reasoner, trainable
from trm.model.weights import Weights
from trm.original.state_dict import to_state_dict
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.puzzles.reading import read_puzzle_set
from trm.supervision.batch import Batch
from trm.supervision.carry import Carry
from trm.supervision.loss import Metrics, divide
from trm.training.optim.ema import update_ema
from trm.training.optim.schedule import warmup_cosine
from trm.training.state import TrainState, make_state, total_steps
from trm.training.step import make_train_step

from .case import FORWARD, Case, Comparison, Tolerance
from .steps import configure, differentiate_step, name_carry, name_gradients, read_batch, read_weights


def check_trajectory(case: Case) -> Iterator[Comparison]:
    """Check a training run, call by call, on the step that `trm train` compiles."""
    training = case.values["train_config"]
    size = training["global_batch_size"]
    config, metadata = configure(case, size, training.get("loss_type"))
    if config.halting.halt_exploration_prob:
        raise InputError("unknown kind of case: a trajectory with exploration, whose draws are not recorded")
    gradient = case.tolerance("grad", Tolerance(1e-4, 1e-6))
    tolerances = {
        "grad/": gradient,
        "exp_avg": gradient._replace(atol=0.0),
        "ema": case.tolerance("ema", Tolerance(3e-7, 3e-7))._replace(rule="elementwise"),
        "state_dict/": case.tolerance("state_dict", Tolerance(1e-5, 2e-6))._replace(rule="elementwise"),
        "metric/": case.tolerance("metrics", Tolerance(1e-5)),
        "lrs": case.tolerance("metrics", Tolerance(1e-5)),
        "": FORWARD[config.model.forward_dtype],
    }
    steps, rules = total_steps(config, metadata), config.optimizer
    bases = [rules.puzzle_emb_lr] * bool(config.model.row_size) + [rules.lr] * (not rules.freeze_weights)
    schedules = [warmup_cosine(base, rules.lr_warmup_steps, steps, rules.lr_min_ratio) for base in bases]

    mesh = make_mesh(1)
    train_step = make_train_step(config, metadata, mesh)
    initial = read_weights(case, config, metadata)
    state = start(make_state(config, metadata, mesh), initial, read_batch(case, "batch0"))
    # Averages at other rates, of which only the last is recorded.
    rates = {match[1] for name in case.tensors if (match := re.match(r"final/ema_mu([\d.]+)/", name))}
    averages = {rate: trained(initial.model) for rate in rates}

    for i, call in enumerate(case.values["calls"]):
        comparison = Comparison(f"call{i}")
        found: dict[str, Any] = {}
        if i < steps:
            batch = read_batch(case, f"batch{i}")
            never = jnp.zeros(size, jnp.int32)
            before = Weights(state.model, state.puzzle_table)
            step, gradients = differentiate_step(before, state.carry, batch, never, config)
            found["local_ids"] = step.carry.batch.puzzle_identifiers
            found |= {f"grad/{name}": of_sum / size for name, of_sum in name_gradients(gradients).items()}
            state, sums = train_step(state, batch)
            found["lrs"] = [np.asarray(schedule(state.step)) for schedule in schedules]
            found |= {f"metric/train/{name}": value for name, value in report(sums, size).items()}
            found["metric/train/lr"] = found["lrs"][-1]
            found["train_state_step"] = state.step
        elif state.ema is not None:
            # Our loop ends before such a call. The original only moves its average once more.
            state = dataclasses.replace(state, ema=update_ema(state.ema, trained(state.model), rules.ema_rate))
        averages = {rate: update_ema(a, trained(state.model), float(rate)) for rate, a in averages.items()}

        found |= _under("state_dict", to_state_dict(Weights(state.model, state.puzzle_table)))
        found |= _under("carry", name_carry(state.carry))
        if state.ema is not None:
            found |= _under("ema", to_state_dict(Weights(state.ema, state.puzzle_table)))
        comparison.all_close(found, case.under(f"call{i}"), tolerances)
        recorded: dict[str, Any] = {f"metric/{name}": value for name, value in (call.get("metrics") or {}).items()}
        places = {"lrs": "lrs", "carry_steps": "carry/steps", "carry_halted": "carry/halted"}
        places |= {"train_state_step": "train_state_step"} if i < steps else {}
        recorded |= {place: call[key] for key, place in places.items() if call.get(key) is not None}
        comparison.all_close(found, recorded, tolerances)
        if rules.freeze_weights:
            for name, value in to_state_dict(Weights(state.model, state.puzzle_table[:0])).items():
                comparison.equal(f"state_dict/{name}: frozen", value, case.tensors[f"state_dict/{name}"])
        yield comparison

    if recorded := case.under("final"):
        comparison = Comparison("final")
        trees = {f"ema_mu{rate}": average for rate, average in averages.items()}
        if not rules.freeze_weights:
            trees |= {"exp_avg": state.optimizer.mean, "exp_avg_sq": state.optimizer.mean_square}
        found = {}
        for name, tree in trees.items():
            found |= _under(name, to_state_dict(Weights(tree, state.puzzle_table)))
        comparison.all_close(found, recorded, tolerances)
        yield comparison


def start(state: TrainState, weights: Weights, batch: Batch) -> TrainState:
    """Put recorded weights into a fresh state; copies, because the training step gives up what it is given."""
    ema = None if state.ema is None else trained(weights.model)
    carry = Carry.empty(weights.model, batch)
    model, table, ema, carry = jax.tree.map(jnp.array, (weights.model, weights.puzzle_table, ema, carry))
    return dataclasses.replace(state, model=model, puzzle_table=table, ema=ema, carry=carry)


def trained(model: Reasoner) -> Reasoner:
    """Keep what is trained."""
    return eqx.filter(model, trainable(model))


def report(sums: Metrics, batch_size: int) -> dict[str, float]:
    """Divide a training step's sums as the original does: by a count of at least one, the count itself included."""
    host = {name: float(value) for name, value in sums.items()}
    means = divide(host, batch_size)
    if not host["count"]:
        means |= {name: 0.0 for name in means if not name.endswith("loss")}
    return means | {"count": min(host["count"], 1.0)}


def check_evaluation(case: Case) -> Iterator[Comparison]:
    """Check the evaluation of the puzzle set that lies in the folder, set by set."""
    size = case.values["global_batch_size"]
    config, metadata = configure(case, size, case.values.get("loss_type"))
    mesh = make_mesh(1)
    weights = place(read_weights(case, config, metadata), mesh, REPLICATED)
    puzzles = read_puzzle_set(case.folder / "dataset", "test")
    # The original's q_halt loss counts the padding of the last batch.
    step = make_evaluation_step(config, mesh, padding_counts=True)
    reports = evaluate_every_step(step, weights, puzzles, size, mesh)
    tolerance = Tolerance(case.values.get("tolerance", {}).get("rtol", 1e-5))
    for name, recorded in case.values["metrics"].items():
        comparison = Comparison(name)
        found = reports[name].metrics if name in reports else {}
        finite = {metric: value for metric, value in recorded.items() if np.isfinite(value)}
        comparison.all_close(found, finite, {"": tolerance})
        for metric in recorded.keys() - finite.keys():
            comparison.equal(f"{metric}: not finite", np.isfinite(found.get(metric, 0.0)), False)
        yield comparison


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}
