"""The model: its recursion against a plain loop, its own derivatives against JAX's."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from jax.test_util import check_grads

from trm.checkpoints.tree import name_leaves
from trm.configuration.reading import read_config
from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.attention import attend, has_cudnn
from trm.model.layers import SwiGLU, truncated_normal
from trm.model.norm import rms_norm
from trm.model.precision import cast_once, linear, rounded_product
from trm.model.reasoner import Reasoner, count_parameters, reconfigure, trainable
from trm.model.recursions import Latents, Recursion, TwoLatents
from trm.model.weights import Weights
from trm.solving.reason import reason
from trm.storage.bundled import config_path

KEY = jax.random.key(0)
VOCAB, SEQ_LEN, BATCH = 6, 16, 3


def make_model(**model) -> Reasoner:
    return Reasoner(tiny_config(model=model).model, VOCAB, SEQ_LEN, key=KEY)


def make_inputs(model: Reasoner, row_size: int = 16):
    keys = jax.random.split(KEY, 3)
    inputs = jax.random.randint(keys[0], (BATCH, SEQ_LEN), 0, VOCAB)
    rows = jax.random.normal(keys[1], (BATCH, row_size))
    leaves, structure = jax.tree.flatten(model.initial_latents(inputs.shape))
    latents = [
        jax.random.normal(key, z.shape).astype(z.dtype)
        for key, z in zip(jax.random.split(keys[2], len(leaves)), leaves, strict=True)
    ]
    return inputs, rows, jax.tree.unflatten(structure, latents)


# Every recursion once more as the papers' pseudo-code has it: Python loops, gradients stopped by hand.

SIZES = {"H_cycles": 3, "L_cycles": 2, "L_layers": 2}


def plain_trm(recursion: Any, x: jax.Array, z: Any) -> dict[str, jax.Array]:
    y, z_L = z.z_H, z.z_L
    for cycle in range(recursion.H_cycles):
        if cycle == recursion.H_cycles - recursion.differentiated_cycles:
            y, z_L = jax.lax.stop_gradient((y, z_L))
        for _ in range(recursion.L_cycles):
            z_L = recursion.network(z_L + y + x)
        y = recursion.network(y + z_L)
    return {"z_H": y, "z_L": z_L}


def plain_hrm(recursion: Any, x: jax.Array, z: Any) -> dict[str, jax.Array]:
    y, z_L = z.z_H, z.z_L
    for step in range(1, recursion.H_cycles * recursion.L_cycles + 1):
        if step == recursion.H_cycles * recursion.L_cycles:
            y, z_L = jax.lax.stop_gradient((y, z_L))
        z_L = recursion.L_network(z_L + y + x)
        if step % recursion.L_cycles == 0:
            y = recursion.H_network(y + z_L)
    return {"z_H": y, "z_L": z_L}


def plain_singlez(recursion: Any, x: jax.Array, z: Any) -> dict[str, jax.Array]:
    z_L = z.z_L
    for cycle in range(recursion.H_cycles):
        if cycle == recursion.H_cycles - recursion.differentiated_cycles:
            z_L = jax.lax.stop_gradient(z_L)
        for _ in range(recursion.L_cycles):
            z_L = recursion.network(z_L + x)
        z_L = recursion.network(z_L)
    return {"z_L": z_L}


def plain_hier6(recursion: Any, x: jax.Array, z: Any) -> dict[str, jax.Array]:
    y, parts = z.z_H, [getattr(z, f"z_L{i}") for i in range(1, 7)]
    for cycle in range(recursion.H_cycles):
        if cycle == recursion.H_cycles - recursion.differentiated_cycles:
            y, parts = jax.lax.stop_gradient((y, parts))
        for i in range(recursion.L_cycles):
            parts[i] = recursion.network(sum(parts) + (y + x))
        y = recursion.network(y + sum(parts))
    return {"z_H": y} | {f"z_L{i}": part for i, part in enumerate(parts, start=1)}


def plain_baseline(recursion: Any, x: jax.Array, z: Any) -> dict[str, jax.Array]:
    return {"z_H": recursion.H_network(jax.lax.stop_gradient(z.z_H) + x)}


def slow(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.slow)


MLP = {"mixer": "mlp", "positions": "none"}
PLAIN = [
    (plain_trm, SIZES | {"H_cycles": 1, "L_cycles": 1}),
    slow(plain_trm, SIZES),
    slow(plain_trm, SIZES | MLP),
    slow(plain_trm, SIZES | MLP | {"differentiated_cycles": 2}),
    slow(plain_trm, SIZES | {"differentiated_cycles": 3, "unroll": True}),
    slow(plain_hrm, SIZES | {"recursion": "hrm", "H_layers": 1}),
    (plain_hrm, SIZES | MLP | {"recursion": "hrm", "H_layers": 2, "H_cycles": 1, "L_cycles": 1}),
    slow(plain_singlez, SIZES | {"recursion": "trm_singlez"}),
    slow(plain_hier6, SIZES | {"recursion": "trm_hier6", "H_cycles": 2, "L_cycles": 4}),
    slow(plain_hier6, SIZES | MLP | {"recursion": "trm_hier6", "differentiated_cycles": 3}),
    (plain_baseline, {"recursion": "transformers_baseline", "H_layers": 2} | dict.fromkeys(SIZES, 0)),
]


@pytest.mark.parametrize(("plain", "sizes"), PLAIN)
def test_recursion_and_its_gradient_agree_with_a_plain_loop(plain: Callable, sizes: dict):
    model = make_model(**sizes)
    inputs, rows, z = make_inputs(model)

    def value(recurse: Callable, model: Reasoner, rows: jax.Array) -> jax.Array:
        out = recurse(model.recursion, model.embed(inputs, rows), z)
        # Random cotangents, so that nothing cancels.
        cotangents = {
            name: jax.random.normal(jax.random.fold_in(KEY, i), out[name].shape) for i, name in enumerate(out)
        }
        return jnp.stack([jnp.sum(cotangents[name] * out[name]) for name in out]).sum()

    def scanned(recursion: Recursion, x: jax.Array, z: Latents) -> dict[str, jax.Array]:
        return vars(recursion(x, z))

    ours, expected = (
        jax.value_and_grad(lambda m, r, f=f: value(f, m, r), argnums=(0, 1))(model, rows) for f in (scanned, plain)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * float(jnp.abs(b).max()) + 1e-6)
    initial = ours[1][0].recursion.initial
    assert not any(leaf.any() for leaf in jax.tree.leaves(initial))
    assert any(leaf.any() for leaf in jax.tree.leaves(ours[1]))


def test_latents_that_go_on_carry_no_gradient():
    model = make_model()
    inputs, rows, z = make_inputs(model)
    gradient = jax.grad(lambda m: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(m(inputs, rows, z)[0])))(model)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_warm_up_cycles_keep_nothing_for_the_backward_pass():
    """The scan over all but the last H cycle returns the two latents and no residuals."""
    model = make_model(H_cycles=4, L_cycles=3)
    inputs, rows, z = make_inputs(model)

    def loss(model: Reasoner) -> jax.Array:
        return jnp.sum(model(inputs, rows, z)[1].logits)

    def scans(jaxpr) -> list:
        found = []
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                found.append(equation)
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "jaxpr")):
                if hasattr(inner, "jaxpr"):
                    found += scans(inner.jaxpr)
        return found

    every = scans(jax.make_jaxpr(jax.grad(loss))(model).jaxpr)
    warm_up = [
        scan
        for scan in every
        if scan.params["length"] == 3 and any(s.params["length"] == 3 for s in scans(scan.params["jaxpr"].jaxpr))
    ]
    assert len(warm_up) == 1
    assert len(warm_up[0].outvars) == 2
    # The last cycle is differentiated: its scan over L cycles does keep something.
    assert any(len(scan.outvars) > 2 for scan in every)


@pytest.mark.parametrize("positions", ["rope", "learned", "none"])
def test_attention_without_positions_is_equivariant(positions: str):
    """Permuting the puzzle's cells permutes the answer, unless positions tell the cells apart."""
    model = make_model(positions=positions, puzzle_emb_ndim=0)
    inputs, rows, _ = make_inputs(model, row_size=0)
    z = model.initial_latents((BATCH, SEQ_LEN))
    order = jax.random.permutation(KEY, SEQ_LEN)
    plain = model(inputs, rows, z)[1].logits[:, order]
    permuted = model(inputs[:, order], rows, z)[1].logits
    assert bool(jnp.allclose(plain, permuted, atol=1e-4)) == (positions == "none")


def test_prefix_is_padded_with_zeros_and_cut_off():
    model = make_model(puzzle_emb_ndim=20, puzzle_emb_len=3)
    inputs, rows, z = make_inputs(model, row_size=20)
    x = model.embed(inputs, rows)
    hidden = 16
    assert x.shape == (BATCH, 3 + SEQ_LEN, hidden)
    np.testing.assert_allclose(x[:, :3].reshape(BATCH, -1), jnp.pad(rows, ((0, 0), (0, 28))) * 4, rtol=1e-6)
    np.testing.assert_allclose(x[:, 3:], model.embed_tokens[inputs] * 4, rtol=1e-6)
    assert model(inputs, rows, z)[1].logits.shape == (BATCH, SEQ_LEN, VOCAB)


def test_no_puzzle_embedding_means_no_prefix():
    model = make_model(puzzle_emb_ndim=0, puzzle_emb_len=16)
    inputs, rows, _ = make_inputs(model, row_size=0)
    assert model.embed(inputs, rows).shape == (BATCH, SEQ_LEN, 16)


def test_register_stands_before_the_tokens_and_is_what_q_head_reads():
    model = make_model(register=True, puzzle_emb_ndim=0)
    inputs, rows, z = make_inputs(model, row_size=0)
    assert model.register is not None
    x = model.embed(inputs, rows)
    np.testing.assert_allclose(x[:, 0], jnp.broadcast_to(model.register * 4, (BATCH, 16)), rtol=1e-6)
    np.testing.assert_allclose(x[:, 1:], model.embed_tokens[inputs] * 4, rtol=1e-6)
    z, outputs = eqx.tree_at(lambda m: m.q_head.weight, model, jnp.ones((16, 2)))(inputs, rows, z)
    answer = model.recursion.answer(z)
    np.testing.assert_allclose(outputs.q_halt_logits, answer[:, 0].sum(-1) - 5, rtol=1e-4)
    np.testing.assert_allclose(outputs.logits, answer[:, 1:] @ model.lm_head, rtol=1e-4, atol=1e-4)
    gradient = jax.grad(lambda m: jnp.sum(jnp.square(m(inputs, rows, z)[1].logits)))(model)
    assert gradient.register.any()
    assert trainable(model).register


def test_other_weights_are_drawn_the_same_with_a_register():
    with_register, without = make_model(register=True, puzzle_emb_ndim=0), make_model(puzzle_emb_ndim=0)
    without_register = eqx.tree_at(lambda m: m.register, with_register, None)
    for a, b in zip(jax.tree.leaves(without_register), jax.tree.leaves(without), strict=True):
        np.testing.assert_array_equal(a, b)


def test_initial_latents_are_not_trained():
    model = make_model()
    marks = trainable(model)
    assert not any(jax.tree.leaves(marks.recursion.initial))
    assert sum(not mark for mark in jax.tree.leaves(marks)) == 2


def test_halting_head_starts_far_below_zero():
    model = make_model(forward_dtype="bfloat16")
    inputs, rows, z = make_inputs(model)
    outputs = model(inputs, rows, z)[1]
    np.testing.assert_array_equal(outputs.q_halt_logits, -5)
    np.testing.assert_array_equal(outputs.q_continue_logits, -5)


def test_truncated_normal_has_the_standard_deviation_asked_for():
    draws = np.asarray(truncated_normal(KEY, (400_000,), 0.125))
    assert abs(draws.std() / 0.125 - 1) < 5e-3
    assert abs(np.abs(draws).max() / (2 * 0.125 / 0.8796256610342398) - 1) < 1e-3


@pytest.mark.parametrize(
    ("config", "vocab_size", "seq_len", "parameters"),
    [
        # Counted on the original's own models.
        ("sudoku_mlp", 11, 81, 5_028_866),
        ("sudoku_att", 11, 81, 6_828_034),
        ("arc1_att", 12, 900, 6_829_058),
        ("hrm_sudoku", 11, 81, 27_275_266),
        ("sudoku_mlp_singlez", 11, 81, 5_028_866),
        ("sudoku_mlp_hier6", 11, 81, 5_028_866),
        ("maze_att", 6, 900, 6_822_914),
        ("hrm_maze", 6, 900, 27_270_146),
        ("hrm_arc", 12, 900, 27_276_290),
        ("transformers_baseline", 12, 900, 27_145_218),
    ],
)
def test_as_many_parameters_as_the_original(config: str, vocab_size: int, seq_len: int, parameters: int):
    check_parameters(read_config(config_path(config)).model, vocab_size, seq_len, parameters)


def test_as_many_parameters_as_the_original_on_mazes():
    model = read_config(config_path("maze_att"), ["model.mixer=mlp", "model.positions=none"]).model
    check_parameters(model, 6, 900, 18_795_522)


def check_parameters(config: ModelConfig, vocab_size: int, seq_len: int, parameters: int):
    model = jax.eval_shape(lambda: Reasoner(config, vocab_size, seq_len, key=jax.random.key(0)))
    assert count_parameters(model) == parameters


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"H_layers": 2}, "model.H_layers: found 2, expected 0: recursion 'trm' does not use it"),
        ({"L_layers": 0}, "model.L_layers: found 0, expected more than 0"),
        ({"recursion": "hrm", "H_layers": 1, "unroll": True}, "model.unroll: found True, expected False: "),
        ({"recursion": "hrm", "H_layers": 1, "differentiated_cycles": 2}, "model.differentiated_cycles: found 2, exp"),
        ({"differentiated_cycles": 3}, "model.differentiated_cycles: found 3, expected at most model.H_cycles 2"),
        ({"differentiated_cycles": 0}, "model.differentiated_cycles: found 0, expected more than 0"),
        ({"recursion": "trm_hier6", "L_cycles": 7}, "model.L_cycles: found 7, expected at most 6"),
        ({"recursion": "trn"}, "model.recursion: "),
        ({"recursion": "os:sep"}, "model.recursion: "),
    ],
)
def test_a_model_that_its_recursion_cannot_be_names_the_key(model: dict, says: str):
    with pytest.raises(InputError) as error:
        make_model(**model)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


# Plain derivatives


def tangents(key: jax.Array, tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype) for i, x in enumerate(leaves)]
    )


@pytest.mark.parametrize(
    ("mixer", "gate", "forward_dtype"),
    [("attention", "silu", "float32"), ("mlp", "norm", "float32"), ("attention", "norm", "bfloat16")],
)
def test_plain_derivatives_change_no_value(mixer: str, gate: str, forward_dtype: str):
    positions = {"attention": "rope", "mlp": "none"}[mixer]
    sizes = {"mixer": mixer, "positions": positions, "gate": gate, "forward_dtype": forward_dtype}
    model = make_model(**sizes)
    plain = reconfigure(model, tiny_config(model=sizes | {"plain_derivatives": True}).model)
    inputs, rows, z = make_inputs(model)
    for a, b in zip(jax.tree.leaves(model(inputs, rows, z)), jax.tree.leaves(plain(inputs, rows, z)), strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mixer", "gate"), [("attention", "silu"), ("mlp", "norm")], ids=["attention", "mlp with normed gate"]
)
def test_forward_mode_agrees_with_finite_differences_and_with_our_derivatives(mixer: str, gate: str):
    positions = {"attention": "rope", "mlp": "none"}[mixer]
    sizes = {"mixer": mixer, "positions": positions, "gate": gate, "differentiated_cycles": 2, "rms_norm_eps": 1e-2}
    model = make_model(**sizes)
    plain = reconfigure(model, tiny_config(model=sizes | {"plain_derivatives": True}).model)
    inputs, rows, z = make_inputs(model)

    def logits(model: Reasoner, rows: jax.Array) -> jax.Array:
        return reason(Weights(model, rows), inputs, jnp.arange(BATCH), steps=1, latents=z).outputs.logits

    at, directions = (plain, rows), tangents(KEY, (plain, rows))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(logits, (model, rows), tangents(KEY, (model, rows)))
    _, forward = jax.jit(lambda: jax.jvp(logits, at, directions))()
    step = 2e-4
    ahead, behind = (jax.jit(logits)(*jax.tree.map(lambda x, d, s=s: x + s * d, at, directions)) for s in (step, -step))
    finite = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(forward, finite, rtol=1e-2, atol=1e-2 * float(jnp.abs(finite).max()))
    cotangent = jax.random.normal(KEY, forward.shape)
    for other in (plain, model):
        _, pull_back = jax.vjp(logits, other, rows)
        along = jax.tree.map(lambda g, d: jnp.sum(g * d), pull_back(cotangent), (*pull_back_like(other, directions),))
        np.testing.assert_allclose(sum(jax.tree.leaves(along)), jnp.sum(cotangent * forward), rtol=1e-3)


def pull_back_like(model: Reasoner, directions: Any) -> Any:
    """Return directions as those of a model with other static fields."""
    of_model, of_rows = directions
    return jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(of_model)), of_rows


@pytest.mark.slow
def test_jacobian_of_a_supervision_step_by_the_latents():
    """Forward and reverse mode give one matrix, and it is that of finite differences in every direction."""
    sizes = {"differentiated_cycles": 2, "plain_derivatives": True, "rms_norm_eps": 1e-2}
    model = make_model(**sizes)
    inputs, rows, z = make_inputs(model)
    inputs, rows, z = inputs[0, :4], rows[0], jax.tree.map(lambda leaf: leaf[0, :6], z)
    assert isinstance(z, TwoLatents)

    def refine(z_H: jax.Array) -> jax.Array:
        return name_leaves(model(inputs, rows, dataclasses.replace(z, z_H=z_H))[0])["z_H"]

    forward, reverse = jax.jit(jax.jacfwd(refine))(z.z_H), jax.jit(jax.jacrev(refine))(z.z_H)
    np.testing.assert_allclose(forward, reverse, rtol=1e-3, atol=1e-5)
    step = 1e-2 * jnp.eye(z.z_H.size).reshape(-1, *z.z_H.shape)
    at = jnp.broadcast_to(z.z_H, step.shape)
    finite = (jax.vmap(refine)(at + step) - jax.vmap(refine)(at - step)) / 2e-2
    found = forward.reshape(*z.z_H.shape, -1)
    np.testing.assert_allclose(jnp.moveaxis(found, -1, 0), finite, rtol=0, atol=2e-2 * float(jnp.abs(finite).max()))


# Derivatives that we define ourselves


def test_own_derivatives_agree_with_finite_differences():
    keys = jax.random.split(KEY, 4)
    q, k, v = (jax.random.normal(key, (2, 5, 2, 4)) for key in keys[:3])
    check_gradient(attend, q, k, v)
    x = jax.random.normal(keys[3], (2, 5, 4)) * 0.1
    check_gradient(lambda x: rms_norm(x, 1e-2, jnp.float32), x)
    weight = jax.random.normal(keys[0], (4, 3))
    check_gradient(linear, x, weight)
    swiglu = SwiGLU(4, 1.0, key=keys[1])
    check_gradient(lambda x, gate_up, down: with_weights(swiglu, gate_up, down)(x), x, swiglu.gate_up, swiglu.down)


def test_normed_gate_and_its_gradient_agree_with_plain_differentiation():
    swiglu = SwiGLU(4, 1.0, norm_eps=1e-2, key=KEY)
    x, cotangent = jax.random.normal(KEY, (2, 2, 5, 4))

    def plain(x: jax.Array, gate_up: jax.Array, down: jax.Array) -> jax.Array:
        gate, up = jnp.split(x @ gate_up, 2, axis=-1)
        product = gate * up
        normed = product / jnp.sqrt(jnp.mean(product**2, axis=-1, keepdims=True) + 1e-2)
        return (normed / (1 + jnp.exp(-gate))) @ down.T

    def ours(x: jax.Array, gate_up: jax.Array, down: jax.Array) -> jax.Array:
        return with_weights(swiglu, gate_up, down)(x)

    arguments = (x, swiglu.gate_up, swiglu.down)
    with jax.numpy_rank_promotion("allow"):
        expected, pull_back_plain = jax.vjp(plain, *arguments)
    found, pull_back = jax.vjp(ours, *arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(pull_back(cotangent), pull_back_plain(cotangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_normed_gate_is_in_every_swiglu(mixer: str):
    positions = {"attention": "rope", "mlp": "none"}[mixer]
    model = make_model(mixer=mixer, positions=positions, gate="norm", L_layers=2)
    layers = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, SwiGLU))
    gates = [layer.norm_eps for layer in layers if isinstance(layer, SwiGLU)]
    assert gates == [1e-5] * (4 if mixer == "mlp" else 2)


def check_gradient(function: Callable, *arguments: jax.Array) -> None:
    # Compiled, because the check perturbs with NumPy arrays, and our shape checks want JAX's.
    check_grads(jax.jit(function), arguments, order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def with_weights(swiglu: SwiGLU, gate_up: jax.Array, down: jax.Array) -> SwiGLU:
    leaves, structure = jax.tree.flatten(swiglu)
    assert len(leaves) == 2
    return jax.tree.unflatten(structure, [gate_up, down])


def test_casting_once_gives_float32_gradients_of_the_same_value():
    """In bfloat16, weights cast once before many uses have the gradient of weights cast at each use, in float32."""
    swiglu = SwiGLU(8, 1.0, key=KEY)
    x = jax.random.normal(KEY, (2, 5, 8), jnp.bfloat16)

    def loss(swiglu: SwiGLU, once: bool) -> jax.Array:
        layer = cast_once(swiglu, jnp.bfloat16) if once else swiglu
        h = x
        for _ in range(4):
            h = layer(h).astype(jnp.bfloat16)
        return jnp.sum(h.astype(jnp.float32))

    at_each_use, once = (jax.grad(lambda s, once=once: loss(s, once))(swiglu) for once in (False, True))
    for a, b in zip(jax.tree.leaves(at_each_use), jax.tree.leaves(once), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)
        # Not a sum of bfloat16 numbers: it has digits that bfloat16 has not.
        assert (b != b.astype(jnp.bfloat16).astype(jnp.float32)).any()


@pytest.mark.skipif(not has_cudnn(), reason="needs jax with CUDA: pip install 'jax[cuda12]' (no GPU)")
@pytest.mark.parametrize("positions", [5, 6])
def test_fused_attention_is_two_kernels_on_a_gpu(positions: int):
    q, k, v = jax.random.normal(KEY, (3, 2, 4, positions, 2, 8), jnp.bfloat16)

    def gradients(fused: bool) -> Any:
        return jax.jit(
            jax.value_and_grad(lambda q, k, v: attend(q, k, v, fused).astype(jnp.float32).sum(), argnums=(0, 1, 2))
        )

    program = gradients(True).trace(q, k, v).lower(lowering_platforms=("cuda",)).as_text()
    # The forward pass, once more for the backward pass, and that.
    assert program.count("@__cudnn$fmhaSoftmax(") == 2
    assert program.count("@__cudnn$fmhaSoftmaxBackward(") == 1
    assert f"{positions}x{positions}x" not in program
    for a, b in zip(jax.tree.leaves(gradients(True)(q, k, v)), jax.tree.leaves(gradients(False)(q, k, v)), strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=2**-6, atol=2**-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="is fused here")
def test_fused_attention_is_plain_attention_on_a_cpu():
    q, k, v = jax.random.normal(KEY, (3, 2, 5, 2, 8), jnp.bfloat16)
    np.testing.assert_array_equal(attend(q, k, v, fused=True), attend(q, k, v))


def test_products_are_rounded_where_they_are_made_except_on_a_cpu():
    a, b = (
        jax.random.normal(key, shape).astype(jnp.bfloat16)
        for key, shape in zip(jax.random.split(KEY), ((5, 7), (7, 3)), strict=True)
    )

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        return rounded_product("ij,jk->ik", a, b)

    exact = np.asarray(a, np.float32) @ np.asarray(b, np.float32)
    np.testing.assert_allclose(np.asarray(jax.jit(multiply)(a, b), np.float32), exact, rtol=2**-8, atol=1e-6)
    traced = jax.jit(multiply).trace(a, b)
    for platform, result in (("cpu", "f32"), ("cuda", "bf16")):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        (product,) = [line for line in program.splitlines() if "dot_general" in line]
        assert f"-> tensor<5x3x{result}>" in product
