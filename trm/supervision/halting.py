"""Halting: when the supervision steps of a sequence end (adaptive computation time, arXiv 2510.04871, section 2.4).

Entry: `wants_to_halt`; in training `draw_min_halt_steps` for exploration, `q_continue_target` for Q-learning.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from trm.configuration.schema import HaltingConfig
from trm.model.reasoner import Outputs


def wants_to_halt(outputs: Outputs, config: HaltingConfig) -> Bool[Array, "*batch"]:
    """Return whether the halting head considers the answer right."""
    if config.q_continue == "unused":
        return outputs.q_halt_logits > 0
    return outputs.q_halt_logits > outputs.q_continue_logits


def draw_min_halt_steps(key: PRNGKeyArray, batch: int, config: HaltingConfig) -> Int[Array, " batch"]:
    """Draw the exploration of one training step: mostly 0, sometimes uniform on 2..halt_max_steps."""
    explore_key, steps_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, (batch,)) < config.halt_exploration_prob
    steps = jax.random.randint(steps_key, (batch,), 2, config.halt_max_steps + 1)
    return jnp.where(explore, steps, 0)


def q_continue_target(
    next_outputs: Outputs, steps: Int[Array, " batch"], config: HaltingConfig
) -> Float[Array, " batch"]:
    """Return the target of q_continue after `steps` steps: the larger Q value of the next step (Q-learning)."""
    best = jnp.maximum(next_outputs.q_halt_logits, next_outputs.q_continue_logits)
    is_last = steps >= config.halt_max_steps
    return jax.lax.stop_gradient(jax.nn.sigmoid(jnp.where(is_last, next_outputs.q_halt_logits, best)))
