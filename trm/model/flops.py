"""FLOPs of network passes, supervision steps and training steps, from the configuration.

Entry: `training_step_flops`, `supervision_step_flops`, `network_flops`; `network_passes`. A multiply-add of a matrix
product counts as two FLOPs, a backward pass as two forward passes. Not counted: norms, activations, rotations,
embedding look-ups, products of a recursion outside its networks, and what a backward pass recomputes to save memory.
"""

from trm.configuration.schema import Config, ModelConfig
from trm.model.digits import FIRST_DIGIT, ROLES
from trm.model.layers import swiglu_width
from trm.model.recursions import RECURSIONS


def training_step_flops(config: Config, vocab_size: int, seq_len: int, batch: int = 1) -> int:
    """Count the FLOPs of a training step on `batch` sequences, forward and backward."""
    model, halting = config.model, config.halting
    # The target of a learned q_continue takes a second forward pass.
    steps = 2 if halting.q_continue == "learned" and halting.halt_max_steps > 1 else 1
    forward = steps * supervision_step_flops(model, vocab_size, seq_len)
    passes = RECURSIONS[model.recursion].passes(model)
    differentiated = _passes_flops(model, vocab_size, seq_len, [(layers, number) for layers, _, number in passes])
    return batch * (forward + 2 * (differentiated + head_flops(model, vocab_size, seq_len)))


def supervision_step_flops(config: ModelConfig, vocab_size: int, seq_len: int, batch: int = 1) -> int:
    """Count the FLOPs of a supervision step on `batch` sequences, without derivatives."""
    passes = RECURSIONS[config.recursion].passes(config)
    forward = _passes_flops(config, vocab_size, seq_len, [(layers, number) for layers, number, _ in passes])
    return batch * (forward + head_flops(config, vocab_size, seq_len))


def network_passes(config: ModelConfig) -> int:
    """Count the passes through networks in a supervision step."""
    return sum(number for _, number, _ in RECURSIONS[config.recursion].passes(config))


def head_flops(config: ModelConfig, vocab_size: int, seq_len: int) -> int:
    """Count the FLOPs of the token head at every token of one sequence, and of the halting head at one position.

    With the state "digits" each digit's vector gives one logit, and the roles are embedded by a product.
    """
    digits = _digits(config, vocab_size)
    logits = digits * (1 + ROLES) if digits else vocab_size
    return 2 * config.hidden_size * (seq_len * logits + 2)


def network_flops(config: ModelConfig, vocab_size: int, seq_len: int, layers: int = 1) -> int:
    """Count the FLOPs of one pass of a network of `layers` blocks over one sequence with its prefix."""
    hidden, positions, digits = config.hidden_size, config.prefix_len + seq_len, _digits(config, vocab_size)
    if config.mixer == "mlp":
        mixer = _swiglu_flops(positions, config) * hidden
    else:
        heads = config.num_heads * config.head_size
        qkv_and_out = positions * 4 * hidden * heads
        scores_and_values = 2 * positions**2 * heads
        mixer = 2 * (qkv_and_out + scores_and_values)
    coupling = 2 * hidden**2 * positions if digits else 0
    return layers * (mixer + coupling + _swiglu_flops(hidden, config) * positions) * max(1, digits)


def _digits(config: ModelConfig, vocab_size: int) -> int:
    return vocab_size - FIRST_DIGIT if config.state == "digits" else 0


def _swiglu_flops(width: int, config: ModelConfig) -> int:
    """Count the FLOPs of a SwiGLU on one vector: gate, up and down."""
    return 2 * 3 * width * swiglu_width(width, config.expansion, config.inner_multiple)


def _passes_flops(config: ModelConfig, vocab_size: int, seq_len: int, passes: list[tuple[int, int]]) -> int:
    """Count the FLOPs of passes over one sequence, given as (layers, number of passes) of each network."""
    return sum(number * network_flops(config, vocab_size, seq_len, layers) for layers, number in passes)
