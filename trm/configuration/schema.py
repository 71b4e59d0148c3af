"""The configuration of an experiment: every key with its meaning, unit, range, default and source. Entry: `Config`.

The defaults are those that all published TRM experiments share; a file in `configs/` holds what differs. A section
checks itself when it is made. `trm.configuration.reading` reads files; what depends on a recursion, an optimiser, a
puzzle set or the devices is checked where these are known.

Sources are named by their arXiv numbers: 2510.04871 is the paper of TRM, "original" its program.
"""

import dataclasses
from typing import Annotated, Literal

from trm.configuration.ranges import (
    BelowOne,
    Count,
    NotNegative,
    Positive,
    PositiveInt,
    Probability,
    Range,
    check_ranges,
    require,
    require_default,
)
from trm.errors import InputError

LossType = Literal["stablemax_cross_entropy", "softmax_cross_entropy"]
Stage = tuple[float, int, int]
"""A stage of a curriculum: the share of all steps at which it ends, its H_cycles and its L_cycles."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The puzzle sets."""

    path: str | tuple[str, ...] = ""
    """Directory of the puzzle set to train on, with `train/` and `test/`; or a list, whose batches alternate."""
    test_path: str | tuple[str, ...] = ""
    """Directory, or list of directories, whose `test/` is evaluated; empty: those of `path`."""
    validation: Count = 0
    """Groups of the training set that are held back from training; the best weights and the early stop are chosen on
    them. 0: none, and both are chosen on the test set, as in the original. Not for ARC."""

    def __post_init__(self):
        check_ranges(self)
        require(self.path != (), "path", [], "a directory or a list of directories")

    @property
    def train_paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def test_paths(self) -> tuple[str, ...]:
        if not self.test_path:
            return self.train_paths
        return (self.test_path,) if isinstance(self.test_path, str) else self.test_path


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and its recursion (arXiv 2510.04871, section 4)."""

    recursion: str = "trm"
    """Recursion: which latents are refined by which network, and how often. A name that `trm.model.recursions`
    registers, or a class of your own as `package.module:Class`."""
    hidden_size: PositiveInt = 512
    """Width of the latents: numbers per position. Source: original."""
    num_heads: PositiveInt = 8
    """Attention heads, at most hidden_size; their width is hidden_size // num_heads. Not used by the MLP mixer."""
    expansion: Positive = 4.0
    """Width of the SwiGLU over its input width, before the factor 2/3 and rounding up to a multiple of 256."""
    mixer: Literal["attention", "mlp"] = "attention"
    """What mixes positions: self-attention, or a SwiGLU over the position axis (arXiv 2510.04871, section 4.5)."""
    fused_attention: bool = False
    """Whether attention is a kernel of cuDNN on an NVIDIA GPU (bfloat16 only): position x position is not written to
    memory, and the numbers are the same within rounding. On other devices nothing changes."""
    gate: Literal["silu", "norm"] = "silu"
    """Gate of every SwiGLU: `silu(g) * v`, or `sigmoid(g) * rms(g * v)` (arXiv 2601.19085)."""
    positions: Literal["rope", "learned", "none"] = "rope"
    """How positions are told apart: rotary embeddings in attention (arXiv 2104.09864), a learned vector added to each
    position's embedding, or not at all."""
    H_layers: Count = 0
    """Blocks of the network that refines the answer, where it has one of its own (hrm, transformers_baseline)."""
    L_layers: Count = 2
    """Blocks of the network that refines the reasoning, and the answer too where that has no network of its own."""
    H_cycles: Count = 3
    """H cycles of a supervision step: how often the answer is refined."""
    L_cycles: Count = 6
    """L cycles of an H cycle: how often the reasoning latent is refined before the answer is."""
    differentiated_cycles: PositiveInt = 1
    """H cycles, the last of a supervision step, that training differentiates, 1 to H_cycles. 1 is the method of arXiv
    2510.04871; memory and time of the backward pass grow with it."""
    puzzle_emb_ndim: Count | None = None
    """Numbers in a puzzle-embedding row; unset: hidden_size; 0: no puzzle embedding and no prefix."""
    puzzle_emb_len: Count = 16
    """Prefix positions that hold the puzzle-embedding row, zero-padded; 0: as few as hold it. Source: original."""
    register: bool = False
    """Whether a learned vector is the only prefix position, which the halting head reads, in place of a puzzle
    embedding (arXiv 2601.19085)."""
    rope_theta: Positive = 10000.0
    """Base of the wavelengths of rotary positions (arXiv 2104.09864)."""
    rms_norm_eps: Positive = 1e-5
    """Number added to the mean square under the root of the RMS norm. Source: original."""
    forward_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of latents and of the operands of matrix products; weights and optimiser stay float32."""
    remat: bool = False
    """Whether the backward pass computes each network again instead of keeping what it needs: less memory, the same
    numbers within rounding, about a fifth more time."""
    unroll: bool = False
    """Whether the L cycles are compiled one after another, not as a loop: what the backward pass needs is not copied
    into stacks and out, a sixth of what a GPU moves in training, for more memory and compile time."""
    plain_derivatives: bool = False
    """Whether all derivatives are JAX's own, for analysis: `jax.jvp`, `jax.jacfwd` and second derivatives work, and
    pass through the latents from one supervision step to the next. Values stay the same. Reverse mode then takes more
    memory and, in bfloat16, two to four times the time."""

    def __post_init__(self):
        check_ranges(self)
        require(
            self.num_heads <= self.hidden_size, "num_heads", self.num_heads, f"at most hidden_size {self.hidden_size}"
        )
        if self.register and self.row_size:
            raise InputError(
                f"register: found true with puzzle_emb_ndim {self.row_size}, expected 0: both take the same position"
            )
        if self.fused_attention:
            self._check_fused_attention()
        if self.mixer == "mlp" and self.positions == "rope":
            raise InputError(
                "positions: found 'rope' with mixer 'mlp', expected 'none' or 'learned' (rope acts in attention)"
            )
        if self.mixer == "attention" and self.positions == "rope" and self.head_size % 2:
            raise InputError(
                f"num_heads: found head size {self.head_size} = {self.hidden_size} // {self.num_heads}, "
                f"expected an even one (rope)"
            )
        if self.row_size and 0 < self.puzzle_emb_len < self._smallest_prefix:
            raise InputError(
                f"puzzle_emb_len: found {self.puzzle_emb_len}, expected 0 or at least {self._smallest_prefix} "
                f"to hold puzzle_emb_ndim {self.row_size} at hidden_size {self.hidden_size}"
            )

    def _check_fused_attention(self) -> None:
        for name, expected in (("mixer", "attention"), ("forward_dtype", "bfloat16")):
            found = getattr(self, name)
            require(found == expected, name, found, f"{expected!r} with fused_attention true")
        if self.head_size % 8 or self.head_size > 128:
            raise InputError(
                f"num_heads: found head size {self.head_size} = {self.hidden_size} // {self.num_heads}, "
                f"expected a multiple of 8 up to 128 with fused_attention true"
            )

    def with_cycles(self, H_cycles: int, L_cycles: int) -> "ModelConfig":
        """Return the same model with other numbers of cycles."""
        return dataclasses.replace(self, H_cycles=H_cycles, L_cycles=L_cycles)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def row_size(self) -> int:
        """Numbers in a puzzle-embedding row."""
        return self.hidden_size if self.puzzle_emb_ndim is None else self.puzzle_emb_ndim

    @property
    def _smallest_prefix(self) -> int:
        return -(-self.row_size // self.hidden_size)

    @property
    def prefix_len(self) -> int:
        """Positions before the puzzle's tokens: those of the puzzle embedding, or of the register, or none."""
        return (self.puzzle_emb_len or self._smallest_prefix) if self.row_size else int(self.register)


@dataclasses.dataclass(frozen=True)
class HaltingConfig:
    """Adaptive computation: how many supervision steps a puzzle gets (arXiv 2510.04871, section 4.6)."""

    halt_max_steps: PositiveInt = 16
    """Supervision steps that a puzzle gets at most, in training and in evaluation."""
    halt_exploration_prob: Probability = 0.1
    """Probability that a sequence must run at least m steps, m uniform on 2..halt_max_steps, drawn at every step."""
    q_continue: Literal["unused", "compared", "learned"] = "unused"
    """When a sequence halts. unused: on q_halt > 0; compared: on q_halt > q_continue; learned: as compared, and
    q_continue is trained to predict the next step's halting values, which costs a second pass in training."""
    act_enabled: bool = True
    """Whether sequences may halt before halt_max_steps in training."""
    refill: Literal["slot", "queue"] = "slot"
    """Which puzzle a slot gets when its own has halted, in training. slot: that of the slot in the step's batch; those
    for other slots are lost, as in the original. queue: the first in a queue of all training rows, so that none is
    lost; as fewer are used, `epochs` counts the passes that as many whole batches would make."""
    act_inference: bool = False
    """Whether an evaluation takes the answer at which the halting head would stop, not that of the last step."""

    def __post_init__(self):
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The loss of a sequence: of its tokens, and of the halting head."""

    type: LossType = "stablemax_cross_entropy"
    """Loss of a token: cross entropy of the softmax, or of the stablemax (arXiv 2501.04697). Source: original."""
    label_smoothing: BelowOne = 0.0
    """Share of the target that is spread evenly over the vocabulary (arXiv 1512.00567)."""
    halting_weight: NotNegative = 0.5
    """Weight of the halting head's losses beside the token loss. Source: original."""
    step_decay: Annotated[float, Range(0, 1, "(]")] = 1.0
    """Factor by which each further supervision step of a sequence weighs less: the t-th weighs `step_decay ** (t - 1)`
    (arXiv 2511.08653)."""

    def __post_init__(self):
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """One optimiser for the network, sign SGD for the puzzle embeddings, one schedule for both, EMA for evaluation."""

    type: str = "adam_atan2"
    """Optimiser of the network's weights. adam_atan2: one for every weight (arXiv 2407.05872); muon: Muon for the
    matrices of the networks, and AdamW, with lr, beta1, beta2 and weight_decay, for everything else; or your own as
    `package.module:Name`."""
    lr: NotNegative = 1e-4
    """Peak learning rate of the network's weights, at the end of the warm-up. Source: original."""
    lr_min_ratio: NotNegative = 1.0
    """Learning rate at the last step over its peak; a cosine leads there. 1: constant after the warm-up."""
    lr_warmup_steps: Count = 2000
    """Steps in which all learning rates rise linearly from 0 to their peaks. Source: original."""
    beta1: BelowOne = 0.9
    """Decay of the mean of the gradients, per step, of AdamATan2 and AdamW."""
    beta2: BelowOne = 0.95
    """Decay of the mean of the squared gradients, per step, of AdamATan2 and AdamW. Source: original."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of AdamATan2 and AdamW: a step of rate r shrinks the weights by r * weight_decay."""
    muon_lr: NotNegative = 0.02
    """Peak learning rate of Muon. Source: arXiv 2601.19085."""
    muon_momentum: BelowOne = 0.6
    """Momentum of Muon: decay of the mean of the gradients, per step. Source: arXiv 2601.19085."""
    muon_weight_decay: NotNegative = 0.005
    """Decoupled weight decay of Muon. Source: arXiv 2601.19085."""
    max_gradient_norm: NotNegative = 0.0
    """Norm to which a longer gradient of the network's weights is scaled down; 0: never."""
    puzzle_emb_lr: NotNegative = 1e-2
    """Peak learning rate of the puzzle-embedding rows: what sign SGD adds to or takes from each number in a step."""
    puzzle_emb_weight_decay: NotNegative = 0.1
    """Decoupled weight decay of the puzzle-embedding rows that a batch uses. Source: original."""
    freeze_weights: bool = False
    """Whether the network's weights stay as they are and the puzzle embeddings alone are trained."""
    ema: bool = True
    """Whether a moving average of the network's weights is kept, evaluated and published in their place."""
    ema_rate: BelowOne = 0.999
    """Share of the moving average that a step keeps; it averages over about 1 / (1 - ema_rate) steps."""
    ema_start_step: Count = 0
    """First step at which the moving average moves at its rate; before it, the average equals the weights."""

    def __post_init__(self):
        check_ranges(self)
        if self.type == "adam_atan2":
            for name in "muon_lr muon_momentum muon_weight_decay".split():
                require_default(self, name, f"with type {self.type!r}")
        if not self.ema:
            for name in "ema_rate ema_start_step".split():
                require_default(self, name, "with ema false")
        if self.freeze_weights:
            for name in "type max_gradient_norm".split():
                require_default(self, name, "with freeze_weights true")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The run: how long, how large a batch, how often to evaluate, what to keep."""

    seed: Annotated[int, Range(0, 2**32, "[)")] = 0
    """Seed of every random draw: initial weights, order and augmentation of puzzles, exploration. 0 to 2**32 - 1."""
    global_batch_size: PositiveInt = 768
    """Sequences in a step, over all devices. Source: original."""
    curriculum: tuple[Stage, ...] = ()
    """Stages [until, H_cycles, L_cycles] in which training runs other numbers of cycles than the model has, each until
    that share of all steps (arXiv 2511.08653). Evaluation runs those of the model."""
    microbatches: PositiveInt = 1
    """Pieces that each device cuts its share of the batch into, to train in less memory with the same numbers."""
    epochs: PositiveInt = 100_000
    """Passes over the groups (original puzzles) of the set; each pass draws one augmentation of each."""
    eval_interval: PositiveInt = 10_000
    """Epochs between evaluations."""
    min_eval_interval: Count = 0
    """Evaluation intervals that pass before the first evaluation."""
    checkpoint_interval_steps: Count = 0
    """Steps between checkpoints besides those at evaluations; 0: none besides."""
    keep_checkpoints: PositiveInt = 2
    """Resumable checkpoints kept in the run folder; the best weights are kept apart."""
    best_metric: Literal["exact_accuracy", "accuracy", "lm_loss", "pass@2"] = "exact_accuracy"
    """Evaluation metric that decides which weights are the best; pass@2 is of ARC alone, with two attempts."""
    patience: Count = 0
    """Evaluations without a better `best_metric` after which the run ends; 0: never."""

    def __post_init__(self):
        check_ranges(self)
        require(
            self.global_batch_size % self.microbatches == 0,
            "microbatches",
            self.microbatches,
            f"a divisor of global_batch_size {self.global_batch_size}",
        )
        before = 0.0
        for stage in self.curriculum:
            until, *cycles = stage
            holds = before < until < 1 and min(cycles) > 0
            expected = "stages [until, H_cycles, L_cycles] with shares `until` that rise between 0 and 1"
            require(holds, "curriculum", stage, expected)
            before = until


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment. Sections are the tables of the TOML file."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    halting: HaltingConfig = dataclasses.field(default_factory=HaltingConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self):
        if self.optimizer.freeze_weights and not self.model.row_size:
            raise InputError(
                "optimizer.freeze_weights: found true with model.puzzle_emb_ndim 0, expected something left to train"
            )
