"""FLOPs from the configuration against the matrix products of the traced program."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from conftest import tiny_config

from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.model.flops import network_flops, supervision_step_flops, training_step_flops
from trm.model.reasoner import Reasoner
from trm.storage.bundled import config_path

VOCAB, SEQ_LEN, BATCH = 6, 16, 3
MLP = {"mixer": "mlp", "positions": "none"}
NO_CYCLES = {"L_layers": 0, "H_cycles": 0, "L_cycles": 0}
MODELS = {
    "trm": {"H_cycles": 3, "L_cycles": 2, "L_layers": 2},
    "trm_mlp": MLP | {"H_cycles": 3},
    "trm_all_cycles": MLP | {"H_cycles": 3, "differentiated_cycles": 3},
    "trm_two_cycles_unrolled": {"H_cycles": 3, "differentiated_cycles": 2, "unroll": True},
    "hrm": MLP | {"recursion": "hrm", "H_layers": 2, "H_cycles": 2, "L_cycles": 3},
    "hrm_att": {"recursion": "hrm", "H_layers": 1, "H_cycles": 1, "L_cycles": 1},
    "trm_singlez": {"recursion": "trm_singlez"},
    "trm_hier6": MLP | {"recursion": "trm_hier6", "L_cycles": 4},
    "digits": MLP | {"state": "digits", "hidden_size": 24, "inner_multiple": 8},
    "digits_att": {"state": "digits", "positions": "rope_grid", "recursion": "trm_singlez"},
    "transformers_baseline": {"recursion": "transformers_baseline", "H_layers": 3} | NO_CYCLES,
}


def dot_flops(jaxpr: Any) -> int:
    """Add up the FLOPs of every dot_general in a traced program, those of a loop as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            a = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(a[axis] for axis in contracted)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                total += times * dot_flops(inner)
    return total


def traced(config: Config, train: bool) -> int:
    """Count the matrix products of one supervision step, or of its value and gradient."""
    model = Reasoner(config.model, VOCAB, SEQ_LEN, key=jax.random.key(0))
    inputs = jnp.zeros((BATCH, SEQ_LEN), jnp.int32)
    rows = jnp.zeros((BATCH, config.model.row_size))
    z = model.initial_latents(inputs.shape)

    def loss(model: Reasoner) -> jax.Array:
        outputs = model(inputs, rows, z)[1]
        return outputs.logits.sum() + outputs.q_halt_logits.sum() + outputs.q_continue_logits.sum()

    return dot_flops(jax.make_jaxpr(jax.value_and_grad(loss) if train else loss)(model).jaxpr)


FAST = ("trm_mlp", "hrm_att", "digits_att")


@pytest.mark.parametrize(
    "model",
    [pytest.param(model, marks=[] if id in FAST else [pytest.mark.slow], id=id) for id, model in MODELS.items()],
)
def test_flops_are_those_of_the_traced_program(model: dict):
    no_prefix = {"puzzle_emb_ndim": 0} if "state" in model else {}
    config = tiny_config(model=model | no_prefix)
    assert supervision_step_flops(config.model, VOCAB, SEQ_LEN, BATCH) == traced(config, train=False)
    found = training_step_flops(config, VOCAB, SEQ_LEN, BATCH)
    expected = traced(config, train=True)
    digits = VOCAB - 2 if config.model.state == "digits" else 1
    if config.model.mixer == "attention":
        # The derivative of attention computes its scores a second time, which is not counted.
        positions = SEQ_LEN + config.model.prefix_len
        blocks = {
            "trm": 6,
            "trm_two_cycles_unrolled": 6,
            "hrm_att": 2,
            "trm_singlez": 3,
            "digits_att": 3,
            "transformers_baseline": 3,
        }
        name = next(name for name, value in MODELS.items() if value is model)
        expected -= BATCH * digits * blocks[name] * 2 * positions**2 * 16
    assert found == expected


def test_a_learned_q_continue_costs_a_second_pass():
    config = tiny_config()
    learned = tiny_config(halting={"q_continue": "learned"})
    more = training_step_flops(learned, VOCAB, SEQ_LEN, 5) - training_step_flops(config, VOCAB, SEQ_LEN, 5)
    assert more == supervision_step_flops(config.model, VOCAB, SEQ_LEN, 5)


def test_flops_of_a_published_network():
    """A pass of sudoku_mlp's two blocks over 97 positions, worked out by hand."""
    config = read_config(config_path("sudoku_mlp")).model
    channels = 97 * 3 * 512 * 1536
    tokens = 512 * 3 * 97 * 512
    assert network_flops(config, 11, 81, layers=2) == 2 * 2 * (channels + tokens)
