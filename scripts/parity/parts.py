"""Parts on their own: layers, token losses, optimisers."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.attention import rotary_tables, rotate
from trm.model.layers import Attention, SwiGLU, swiglu_width, truncated_normal
from trm.model.norm import rms_norm
from trm.model.precision import linear
from trm.model.reasoner import QHead, Reasoner
from trm.puzzles.metadata import IGNORED_LABEL
from trm.supervision.loss import LossType, log_softmax, log_stablemax, token_losses
from trm.training.optim.adam import adam_atan2
from trm.training.optim.ema import update_ema
from trm.training.optim.schedule import warmup_cosine
from trm.training.optim.sign_sgd import sign_sgd_rows

from .case import FORWARD, GRADIENT, Case, Comparison, Tolerance

Given = Mapping[str, Array]
"""Inputs and weights of a layer, by their recorded names, weights as the original lays them out."""


# Layers


def check_layers(case: Case) -> Iterator[Comparison]:
    """Check each layer's outputs, and its gradients by the recorded cotangents."""
    layers = case.values["layers"]
    if sizes := layers.get("swiglu_inner_sizes"):
        comparison = Comparison("swiglu_inner_sizes")
        for width, expansion, inner in sizes:
            comparison.equal(f"width {width}, expansion {expansion}", swiglu_width(width, expansion), inner)
        yield comparison
    defaults = {
        "base": layers.get("rope", {}).get("base", ModelConfig.rope_theta),
        "eps": layers.get("rms_norm", {}).get("eps", ModelConfig.rms_norm_eps),
    }
    for name in sorted({tensor.partition("/")[0] for tensor in case.tensors}):
        described = layers.get(name)
        spec = defaults | (described if isinstance(described, dict) else {})
        yield check_layer(case, name, spec)


def check_layer(case: Case, name: str, spec: dict[str, Any]) -> Comparison:
    """Check one layer, as described by `spec` and given away by its tensors."""
    tensors = case.under(name)
    if spec.get("causal") or "weight/linear.weight" in tensors:
        return Comparison(name, skipped="not part of the model")
    comparison = Comparison(name)
    dtype, section = ("bfloat16", "bf16_entries") if name.endswith("_bf16") else ("float32", None)
    tolerances = {
        "grad_": case.tolerance("grad", GRADIENT[dtype], section),
        "": case.tolerance("forward", FORWARD[dtype], section),
    }
    if "inner" in spec:
        comparison.equal("inner", swiglu_width(spec["hidden_size"], spec["expansion"]), spec["inner"])
    if "cos" in tensors:
        cosines, sines = rotary_tables(*tensors["cos"].shape, spec["base"])
        comparison.all_close({"cos": cosines, "sin": sines}, tensors, tolerances)
        return comparison

    given = {key: jnp.asarray(tensor, dtype) for key, tensor in tensors.items() if key in ("x", "q", "k")}
    given |= {key: jnp.asarray(tensor) for key, tensor in tensors.items() if key.startswith("weight/")}
    layer = next((layer for key, layer in LAYERS.items() if key in given), None)
    if layer is None:
        raise InputError(f"unknown kind of layer: {name}")
    outputs, pull_back = jax.vjp(partial(layer, spec | {"dtype": dtype, "ids": tensors.get("ids")}), given)
    cotangent_of = {key: key.replace("out", "cotangent") for key in outputs}
    (gradients,) = pull_back({key: jnp.asarray(tensors[cotangent_of[key]], o.dtype) for key, o in outputs.items()})
    found = outputs | {f"grad_{key}": gradient for key, gradient in gradients.items()}
    inputs = {*given, *cotangent_of.values(), "ids"}
    comparison.all_close(found, {key: t for key, t in tensors.items() if key not in inputs}, tolerances)
    return comparison


def run_attention(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    theta = spec["base"] if spec["rope"] else None
    attention = Attention(spec["hidden_size"], spec["num_heads"], spec["head_dim"], theta, key=jax.random.key(0))
    weights = given["weight/qkv_proj.weight"].T, given["weight/o_proj.weight"].T
    return {"out": eqx.tree_at(lambda m: (m.qkv, m.out), attention, weights)(given["x"])}


def run_swiglu(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    swiglu = SwiGLU(spec["hidden_size"], spec["expansion"], key=jax.random.key(0))
    weights = given["weight/gate_up_proj.weight"].T, given["weight/down_proj.weight"]
    return {"out": eqx.tree_at(lambda m: (m.gate_up, m.down), swiglu, weights)(given["x"])}


def run_embedding(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    table, ids = given["weight/embedding_weight"], jnp.asarray(spec["ids"])
    vocab_size, hidden_size = table.shape
    config = ModelConfig(
        hidden_size=hidden_size, num_heads=1, positions="none", puzzle_emb_ndim=0, forward_dtype=spec["dtype"]
    )
    model = Reasoner(config, vocab_size, ids.shape[-1], key=jax.random.key(0))
    embedded = eqx.tree_at(lambda m: m.embed_tokens, model, table).embed(ids, jnp.zeros((len(ids), 0)))
    return {"out": embedded / math.sqrt(hidden_size)}  # The scale is no part of the recorded layer.


def run_linear(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    del spec
    x, weight, bias = given["x"], given["weight/weight"].T, given.get("weight/bias")
    if bias is None:
        return {"out": linear(x, weight).astype(x.dtype)}
    if len(bias) == 2:
        return {"out": eqx.tree_at(lambda m: (m.weight, m.bias), QHead(len(weight)), (weight, bias))(x)}
    # The only layer of ours with a bias is the head of width 2: what it does, for other widths.
    out = linear(x, weight)
    bias = jnp.broadcast_to(bias.astype(x.dtype).astype(jnp.float32), out.shape)
    return {"out": (out + bias).astype(x.dtype)}


def run_rotation(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    return {"out0": rotate(given["q"], spec["base"]), "out1": rotate(given["k"], spec["base"])}


def run_norm(spec: Mapping[str, Any], given: Given) -> dict[str, Array]:
    return {"out": rms_norm(given["x"], spec["eps"], spec["dtype"])}


LAYERS: dict[str, Callable[[Mapping[str, Any], Given], dict[str, Array]]] = {
    "weight/qkv_proj.weight": run_attention,
    "weight/gate_up_proj.weight": run_swiglu,
    "weight/embedding_weight": run_embedding,
    "weight/weight": run_linear,
    "q": run_rotation,
    "x": run_norm,
}
"""The layer that a recorded tensor gives away; the first that is there counts."""


# Losses

LOSSES: dict[str, tuple[LossType, Callable[[Array], Array]]] = {
    "stablemax": ("stablemax_cross_entropy", log_stablemax),
    "softmax": ("softmax_cross_entropy", log_softmax),
}


def check_losses(case: Case) -> Iterator[Comparison]:
    """Check token losses, log probabilities and gradients."""
    tolerances = {
        "grad_": case.tolerance("grad", Tolerance(1e-4, 1e-6, "elementwise")),
        "": case.tolerance("loss", Tolerance(1e-5, 1e-6, "elementwise")),
    }
    logits = jnp.asarray(case.tensors["logits"])
    for name, (loss_type, log_probabilities) in LOSSES.items():
        if recorded := case.under(name):
            comparison = Comparison(name)
            labels = jnp.asarray(case.tensors["labels"])
            losses_of = partial(token_losses, labels=labels, valid=labels != IGNORED_LABEL, loss_type=loss_type)
            losses, pull_back = jax.vjp(losses_of, logits)
            (gradient,) = pull_back(jnp.asarray(case.tensors["cotangent"]))
            found = {"loss": losses, "grad_logits": gradient, "log_probs": log_probabilities(logits)}
            comparison.all_close(found, recorded, tolerances)
            yield comparison
    if recorded := case.under("explicit_mask"):
        comparison = Comparison("explicit_mask")
        labels, valid = jnp.asarray(recorded.pop("labels")), jnp.asarray(recorded.pop("valid_mask"), bool)
        found = {f"{name}_loss": token_losses(logits, labels, valid, kind) for name, (kind, _) in LOSSES.items()}
        comparison.all_close(found, recorded, tolerances)
        yield comparison


# Optimisation


def check_optimizers(case: Case) -> Iterator[Comparison]:
    """Check update rules, the schedule, the moving average and the initialiser, each on its own."""
    checks = {
        "adamatan2": check_adam_atan2,
        "signsgd": check_sign_sgd,
        "schedule": check_schedules,
        "ema": check_ema,
        "trunc_normal": check_truncated_normal,
    }
    for name, check in checks.items():
        if name in case.values:
            comparison = Comparison(name)
            check(case, case.values[name], comparison)
            yield comparison


def check_adam_atan2(case: Case, rules: Mapping[str, Any], comparison: Comparison) -> None:
    """Make every update from the recorded parameters; the moments go on."""
    tensors = case.under("adamatan2")
    tolerance = case.tolerance("adamatan2", Tolerance(1e-6, 1e-7))._replace(rule="elementwise")
    rates = jnp.asarray(rules["lrs"], jnp.float32)
    beta1, beta2 = rules["betas"]
    optimizer = adam_atan2(lambda count: rates[count - 1], beta1, beta2, rules["weight_decay"])
    names = sorted({name.split("/")[1] for name in tensors if name.startswith("grad/")})

    def recorded(kind: str, update: int) -> dict[str, Array]:
        return {name: jnp.asarray(tensors[f"{kind}/{name}/{update}"]) for name in names}

    state: Any = optimizer.init(recorded("param", 0))
    for i in range(len(rates)):
        params = recorded("param", i)
        updates, state = optimizer.update(recorded("grad", i), state, params)
        params: Any = optax.apply_updates(params, updates)
        for name in names:
            comparison.close(f"param/{name}/{i + 1}", params[name], tensors[f"param/{name}/{i + 1}"], tolerance)
    for kind, moments in (("exp_avg", state.mean), ("exp_avg_sq", state.mean_square)):
        for name in names:
            comparison.close(f"{kind}/{name}", moments[name], tensors[f"{kind}/{name}"], tolerance)


def check_sign_sgd(case: Case, rules: Mapping[str, Any], comparison: Comparison) -> None:
    """Update a table by a batch, in its order and as it arrives from two replicas, the second one first."""
    tensors = {name: jnp.asarray(tensor) for name, tensor in case.under("signsgd").items()}
    tolerance = case.tolerance("signsgd", Tolerance(1e-6, 1e-7))._replace(rule="elementwise")
    for what, shift in (("one replica", 0), ("two replicas", len(tensors["ids"]) // 2)):
        ids, gradients = (jnp.roll(tensors[name], shift, axis=0) for name in ("ids", "grad"))
        table = sign_sgd_rows(tensors["table_in"], ids, gradients, rules["lr"], rules["weight_decay"])
        comparison.close(f"table_out, {what}", table, tensors["table_out"], tolerance)


def check_schedules(case: Case, schedules: list[dict[str, Any]], comparison: Comparison) -> None:
    """Check learning rates in double precision."""
    tolerance = case.tolerance("schedule", Tolerance(1e-12))._replace(rule="elementwise")
    for i, recorded in enumerate(schedules):
        base, warmup, total, ratio = (
            recorded[key] for key in ("base_lr", "num_warmup_steps", "num_training_steps", "min_ratio")
        )
        with jax.enable_x64(True):
            schedule = warmup_cosine(base, warmup, total, ratio)
            # Step by step, as training asks: an array is not divided, but multiplied with a rounded reciprocal.
            rates = np.array([np.asarray(schedule(jnp.asarray(step))) for step in recorded["steps"]])
        # After the last step the original's cosine rises again; ours stays where it ended.
        within = np.array(recorded["steps"]) <= max(total, warmup)
        lr = np.array(recorded["lr"], np.float64)
        comparison.close(f"lr of schedule {i}", rates[within], lr[within], tolerance)
        comparison.close(f"lr after schedule {i}", rates[~within], np.full((~within).sum(), base * ratio), tolerance)


def check_ema(case: Case, note: Any, comparison: Comparison) -> None:
    """Check moving averages at every recorded rate."""
    del note
    tensors = case.under("ema")
    tolerance = case.tolerance("ema", Tolerance(3e-7, 1e-7))._replace(rule="elementwise")
    for name in sorted({name.partition("/")[0] for name in tensors if name.startswith("mu")}):
        average = jnp.asarray(tensors["initial"])
        for i in range(sum(key.startswith("param/") for key in tensors)):
            average = update_ema(average, jnp.asarray(tensors[f"param/{i}"]), float(name.removeprefix("mu")))
            comparison.close(f"{name}/{i}", average, tensors[f"{name}/{i}"], tolerance)


def check_truncated_normal(case: Case, recorded: Mapping[str, Any], comparison: Comparison) -> None:
    """Draw a million numbers: they know their standard deviation to 0.06 %, and come within 0.1 % of the bounds."""
    del case
    for text, entry in recorded["by_std"].items():
        std = float(text)
        sample = np.asarray(truncated_normal(jax.random.key(0), (1000, 1000), std), np.float64)
        comparison.close(f"standard deviation, {text}", sample.std(), std, Tolerance(3e-3))
        for bound in (sample.max(), -sample.min()):
            comparison.close(f"bound, {text}", bound, 2 * entry["scale_before_truncation"], Tolerance(1e-3))
