"""Supervision steps of a recorded model: outputs, loss, metrics, carry and gradients."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from trm.configuration.reading import config_from_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.reasoner import Outputs, Reasoner, trainable
from trm.model.weights import Weights
from trm.original.settings import tables_from_settings
from trm.original.state_dict import from_state_dict, to_state_dict
from trm.puzzles.metadata import Metadata
from trm.supervision.batch import Batch
from trm.supervision.carry import Carry
from trm.supervision.halting import q_continue_target
from trm.supervision.loss import Metrics
from trm.supervision.step import supervision_step
from trm.training.state import abstract_state

from .case import FORWARD, GRADIENT, Case, Comparison, Tolerance

# Reading


def configure(
    case: Case, batch_size: int, loss_type: str | None, override: Mapping[str, Any] | None = None
) -> tuple[Config, Metadata]:
    """Translate the recorded configuration into ours, with the metadata of a puzzle set that fits it."""
    theirs = case.values["config"] | case.values.get("train_config", {}) | (override or {})
    if theirs.get("causal"):
        raise InputError("unknown kind of case: causal attention")
    if loss_type:
        theirs["loss_type"] = loss_type.partition("(")[0]
    return configure_settings(theirs, case.values["arch"], batch_size)


def configure_settings(theirs: Mapping[str, Any], arch: str, batch_size: int) -> tuple[Config, Metadata]:
    """Translate settings of the original, with the metadata of a puzzle set that fits them."""
    tables = tables_from_settings(theirs, arch)
    # A puzzle set of one batch: then an epoch is a step.
    tables["train"] = {"global_batch_size": batch_size, "epochs": theirs.get("total_steps", 1)}
    sizes = {name: theirs[name] for name in ("vocab_size", "seq_len", "num_puzzle_identifiers")}
    metadata = Metadata(
        pad_id=0,
        ignore_label_id=None,
        blank_identifier_id=0,
        total_groups=batch_size,
        mean_puzzle_examples=1.0,
        total_puzzles=batch_size,
        sets=["all"],
        **sizes,
    )
    return config_from_tables(tables), metadata


def read_weights(case: Case, config: Config, metadata: Metadata) -> Weights:
    """Read the recorded state dict."""
    state = abstract_state(config, metadata)
    like = jax.eval_shape(lambda state: Weights(state.model, state.puzzle_table), state)
    weights = from_state_dict(case.under("state_dict"), like)
    return jax.tree.map(jnp.array, weights)


def read_batch(case: Case, prefix: str) -> Batch:
    """Read a recorded batch."""
    return Batch(*(jnp.asarray(case.tensors[f"{prefix}/{field.name}"]) for field in dataclasses.fields(Batch)))


def read_carry(case: Case, prefix: str, model: Reasoner) -> Carry:
    """Read a recorded carry, its latents in the compute dtype."""
    names = [field.name for field in dataclasses.fields(model.recursion.initial)]
    latents = [jnp.asarray(case.tensors[f"{prefix}/{name}"], model.dtype) for name in names]
    return Carry(
        latents=type(model.recursion.initial)(*latents),
        steps=jnp.asarray(case.tensors[f"{prefix}/steps"]),
        halted=jnp.asarray(case.tensors[f"{prefix}/halted"], bool),
        batch=read_batch(case, f"{prefix}/current_data"),
    )


# Running


class Step(NamedTuple):
    """What a supervision step makes of a carry and a batch."""

    carry: Carry
    outputs: Outputs
    loss: Array
    """Summed over sequences."""
    metrics: Metrics


@partial(jax.jit, static_argnames="config")
def take_step(weights: Weights, carry: Carry, batch: Batch, min_halt_steps: Array | None, config: Config) -> Step:
    """Refill the carry and take a supervision step."""
    carry = carry.refill(weights.model, batch)
    rows = weights.puzzle_table[carry.batch.puzzle_identifiers]
    loss, (carry, outputs, metrics) = supervision_step(weights.model, rows, carry, config, min_halt_steps)
    return Step(carry, outputs, loss, metrics)


@partial(jax.jit, static_argnames="config")
def differentiate_step(
    weights: Weights, carry: Carry, batch: Batch, min_halt_steps: Array | None, config: Config
) -> tuple[Step, Weights]:
    """Take a step and differentiate its loss; the gradient of the batch's rows stands in the place of the table."""
    carry = carry.refill(weights.model, batch)
    rows = weights.puzzle_table[carry.batch.puzzle_identifiers]
    params, constants = eqx.partition(weights.model, trainable(weights.model))

    def loss_of(params: Reasoner, rows: Array):
        return supervision_step(eqx.combine(params, constants), rows, carry, config, min_halt_steps)

    (loss, results), gradients = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(params, rows)
    carry, outputs, metrics = results
    return Step(carry, outputs, loss, metrics), Weights(*gradients)


@partial(jax.jit, static_argnames="config")
def target_q_continue(weights: Weights, carry: Carry, config: Config) -> Array:
    """Return what q_continue should have said in the step that led to this carry."""
    rows = weights.puzzle_table[carry.batch.puzzle_identifiers]
    _, next_outputs = weights.model(carry.batch.inputs, rows, carry.latents)
    return q_continue_target(next_outputs, carry.steps, config.halting)


# Naming results as they are recorded


def name_carry(carry: Carry) -> dict[str, Array]:
    """Name the parts of a carry."""

    def fields(module: eqx.Module) -> dict[str, Array]:
        return {field.name: getattr(module, field.name) for field in dataclasses.fields(module)}

    data = {f"current_data/{name}": tokens for name, tokens in fields(carry.batch).items()}
    return data | fields(carry.latents) | {"steps": carry.steps, "halted": carry.halted}


def name_gradients(gradients: Weights) -> dict[str, np.ndarray]:
    """Name gradients; those of the batch's rows are not those of the table."""
    of_rows = {"inner.puzzle_emb.weights": "inner.puzzle_emb.local_weights"}
    return {of_rows.get(name, name): gradient for name, gradient in to_state_dict(gradients).items()}


def name_step(step: Step) -> dict[str, Any]:
    """Name the results of a step."""
    return {
        "out/logits": step.outputs.logits,
        "out/q_halt_logits": step.outputs.q_halt_logits,
        "out/q_continue_logits": step.outputs.q_continue_logits,
        "out/preds": step.outputs.predictions,
        "out/actual_steps": step.carry.steps,
        "halted": step.carry.halted,
        "local_ids": step.carry.batch.puzzle_identifiers,
        "loss": step.loss,
        **{f"metric/{name}": value for name, value in step.metrics.items()},
        **{f"carry_out/{name}": value for name, value in name_carry(step.carry).items()},
    }


# Checking


def check_model(case: Case) -> Iterator[Comparison]:
    """Check the runs of a model, each of one or more supervision steps."""
    for run in case.values["runs"]:
        kwargs = run.get("kwargs", {})
        if run["mode"] not in ("train", "eval") or kwargs.keys() - {"compute_target_q"}:
            raise InputError(f"run {run['name']}: unknown kind of run: mode {run['mode']!r}, kwargs {kwargs}")
        batch = read_batch(case, run["batch"])
        override = run.get("config_override", {}) | kwargs
        config, metadata = configure(case, len(batch.inputs), run.get("loss_type"), override)
        weights = read_weights(case, config, metadata)
        comparison = Comparison(run["name"])
        training = run["mode"] == "train"
        min_halt_steps = replay_exploration(case, run, len(batch.inputs), config, comparison) if training else None
        carry = Carry.empty(weights.model, batch)
        if run.get("carry"):
            carry = read_carry(case, run["carry"], weights.model)

        recorded, found = case.under(run["name"]), dict[str, Any]()
        steps = run.get("steps", 1)
        for i in range(steps):
            if any("grad/" in name for name in recorded):
                step, gradients = differentiate_step(weights, carry, batch, min_halt_steps, config)
                named = name_step(step) | {f"grad/{name}": g for name, g in name_gradients(gradients).items()}
            else:
                step = take_step(weights, carry, batch, min_halt_steps, config)
                named = name_step(step)
            carry = step.carry
            if training and config.halting.q_continue == "learned":
                named["out/target_q_continue"] = target_q_continue(weights, carry, config)
            found |= named | {f"step{i}/{name}": value for name, value in named.items()}

        dtype = config.model.forward_dtype
        forward = case.tolerance("forward", FORWARD[dtype] if steps < 8 else Tolerance(5e-5, 5e-5))
        tolerances = {
            "grad/": case.tolerance("grad", GRADIENT[dtype]),
            "metric/": Tolerance(forward.rtol),
            "loss": Tolerance(forward.rtol),
            "": forward,
        }
        expected = forgive_ties(recorded, found) if dtype == "bfloat16" else recorded
        comparison.all_close(found, expected, tolerances)
        # case.json repeats some results, the sums in double precision.
        repeated = {f"metric/{name}": value for name, value in run.get("metrics_exact", {}).items()}
        places = {"loss_exact": "loss", "halted": "carry_out/halted", "steps_out": "carry_out/steps"}
        repeated |= {place: run[key] for key, place in places.items() if key in run}
        forgiven = recorded.keys() - expected.keys()
        comparison.all_close(found, {key: repeated[key] for key in repeated.keys() - forgiven}, tolerances)
        yield comparison


def replay_exploration(case: Case, run: Mapping[str, Any], size: int, config: Config, comparison: Comparison) -> Array:
    """Turn the recorded draws into minimum numbers of steps."""
    probability = config.halting.halt_exploration_prob
    if not run.get("rand"):
        if probability:
            raise InputError(f"run {run['name']}: rand: missing, expected draws for exploration {probability}")
        return jnp.zeros(size, jnp.int32)
    draws = case.under(run["rand"])
    min_halt_steps = (draws["rand"] < probability) * draws["randint"]
    if "min_halt_steps" in draws:
        comparison.equal(f"{run['rand']}/min_halt_steps", min_halt_steps, draws["min_halt_steps"])
    return jnp.asarray(min_halt_steps, jnp.int32)


def forgive_ties(recorded: Mapping[str, np.ndarray], found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Expect our own predictions where two recorded logits are within a few bfloat16 steps of each other.

    Where such a prediction differs from the recorded one, expect nothing that follows from it.
    """
    expected = dict(recorded)
    for name in recorded:
        step = name.removesuffix("out/preds")
        if step != name and f"{step}out/logits" in recorded:
            second, first = np.moveaxis(np.sort(recorded[f"{step}out/logits"])[..., -2:], -1, 0)
            tied = first - second <= 4 * 2.0**-7 * np.abs(first)
            expected[name] = np.where(tied, found[name], recorded[name])
            if not np.array_equal(expected[name], recorded[name]):
                for metric in ("accuracy", "exact_accuracy", "q_halt_accuracy", "q_halt_loss"):
                    expected.pop(f"{step}metric/{metric}", None)
                expected.pop(f"{step}loss", None)
    return expected
