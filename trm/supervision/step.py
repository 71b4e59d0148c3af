"""One supervision step with its loss: training differentiates it, evaluation repeats it.

Entry: `supervision_step`.
"""

from jaxtyping import Array, Float, Int

from trm.configuration.schema import Config
from trm.model.reasoner import Outputs, Reasoner
from trm.supervision.carry import Carry
from trm.supervision.halting import q_continue_target
from trm.supervision.loss import Metrics, loss_and_metrics


def supervision_step(
    model: Reasoner,
    rows: Float[Array, "batch row_size"],
    carry: Carry,
    config: Config,
    min_halt_steps: Int[Array, " batch"] | None,
) -> tuple[Float[Array, ""], tuple[Carry, Outputs, Metrics]]:
    """Run one supervision step on a refilled carry; return the loss, summed over sequences, and the new carry, outputs
    and metrics.

    `rows` are the puzzle embeddings of the carry's puzzles. `min_halt_steps` holds the exploration draws in training
    and is None in evaluation.
    """
    latents, outputs = model(carry.batch.inputs, rows, carry.latents)
    carry = carry.advance(latents, outputs, config.halting, min_halt_steps)
    target = None
    learns_q_continue = config.halting.q_continue == "learned" and config.halting.halt_max_steps > 1
    if min_halt_steps is not None and learns_q_continue:
        _, next_outputs = model(carry.batch.inputs, rows, carry.latents)
        target = q_continue_target(next_outputs, carry.steps, config.halting)
    loss, metrics = loss_and_metrics(outputs, carry.batch.labels, carry.steps, carry.halted, target, config.loss)
    return loss, (carry, outputs, metrics)
