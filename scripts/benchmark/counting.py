"""FLOPs of a supervision step and of a training step. Entries: `supervision_step_flops`, `training_step_flops`.

Counted are the matrix products of the blocks, two FLOPs for each multiply-add. Norms, activations and rotations are
left out, and so are embeddings and heads, which a step passes once.
"""

from trm.configuration.schema import Config, ModelConfig
from trm.model.layers import swiglu_width


def training_step_flops(config: Config, positions: int) -> int:
    """Count the FLOPs of one training step for one puzzle; a backward pass is two forward passes.

    What the backward pass computes a second time to save memory is not counted.
    """
    model, halting = config.model, config.halting
    # The target of q_continue is the output of the heads one step later.
    steps = 2 if halting.q_continue == "learned" and halting.halt_max_steps > 1 else 1
    differentiated_blocks = {
        "hrm": model.H_layers + model.L_layers,
        "transformers_baseline": model.H_layers,
    }.get(model.recursion, (model.L_cycles + 1) * model.L_layers)
    return steps * supervision_step_flops(config, positions) + 2 * differentiated_blocks * block_flops(model, positions)


def supervision_step_flops(config: Config, positions: int) -> int:
    """Count the FLOPs of one supervision step for one puzzle, without a derivative."""
    model = config.model
    blocks = {
        "hrm": model.H_cycles * (model.L_cycles * model.L_layers + model.H_layers),
        "transformers_baseline": model.H_layers,
    }.get(model.recursion, model.H_cycles * (model.L_cycles + 1) * model.L_layers)
    return blocks * block_flops(model, positions)


def block_flops(config: ModelConfig, positions: int) -> int:
    """Count the FLOPs of one pass of a block over one puzzle."""

    def swiglu(width: int, vectors: int) -> int:
        gate_up_and_down = 3 * width * swiglu_width(width, config.expansion)
        return vectors * gate_up_and_down

    hidden = config.hidden_size
    if config.mixer == "mlp":
        mixer = swiglu(width=positions, vectors=hidden)
    else:
        heads = config.num_heads * config.head_size
        qkv_and_out = positions * 4 * hidden * heads
        scores_and_values = 2 * positions**2 * heads
        mixer = qkv_and_out + scores_and_values
    return 2 * (mixer + swiglu(width=hidden, vectors=positions))
