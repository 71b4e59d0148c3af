"""The configuration of an experiment: every key with its meaning, unit, range, default and source. Entry: `Config`.

The defaults are those that all published TRM experiments share; a file in `configs/` holds what differs. A section
checks its values when it is created. `trm.configuration.reading` reads files; values that depend on a recursion, an
optimiser, a puzzle set or the devices are checked where these are known.

Sources are named by their arXiv numbers: 2510.04871 is the paper of TRM, "original" its program.
"""

import dataclasses
from typing import Annotated, Literal

from trm.configuration.model_config import ModelConfig
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
    """Directory of the puzzle set to train on, with `train/` and `test/`; or a list of directories; batches of the sets
    alternate."""
    test_path: str | tuple[str, ...] = ""
    """Directory, or list of directories, whose `test/` is evaluated; empty: those of `path`."""
    validation: Count = 0
    """Number of groups held back from training; they decide the best weights and early stopping. 0: none; the test set
    decides, as in the original. Not for ARC."""

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
class HaltingConfig:
    """Adaptive computation: how many supervision steps a puzzle gets (arXiv 2510.04871, section 4.6)."""

    halt_max_steps: PositiveInt = 16
    """Largest number of supervision steps of a puzzle, in training and in evaluation. Source: original."""
    halt_exploration_prob: Probability = 0.1
    """Probability that a sequence must run at least m steps, m uniform on 2..halt_max_steps, drawn at every step.
    Source: original."""
    q_continue: Literal["unused", "compared", "learned"] = "unused"
    """Condition on which a sequence halts. unused: q_halt > 0; compared: q_halt > q_continue; learned: as compared, and
    q_continue is trained to predict the next step's halting values, which costs a second forward pass in training."""
    act_enabled: bool = True
    """Whether sequences may halt before halt_max_steps in training."""
    refill: Literal["slot", "queue"] = "slot"
    """Puzzle that a slot gets when its own has halted, in training. slot: the puzzle at the slot's place in the step's
    batch; puzzles at the places of slots that go on are skipped, as in the original. queue: the next in a queue of all
    training rows, so that none is skipped; a step then uses fewer rows, and `epochs` counts passes as if each step used
    a whole batch."""
    act_inference: bool = False
    """Whether an evaluation takes the answer of the step at which the halting head stops, not that of the last step."""

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
    """Weight of the halting losses relative to the token loss. Source: original."""
    step_decay: Annotated[float, Range(0, 1, "(]")] = 1.0
    """Decay of the loss over the supervision steps of a sequence: the t-th step weighs `step_decay ** (t - 1)` (arXiv
    2511.08653)."""

    def __post_init__(self):
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """One optimiser for the network, sign SGD for the puzzle embeddings, one schedule for both, EMA for evaluation."""

    type: str = "adam_atan2"
    """Optimiser of the network's weights. adam_atan2: AdamATan2 for every weight (arXiv 2407.05872); muon: Muon for the
    matrices of the networks, AdamW with lr, beta1, beta2 and weight_decay for everything else; or your own as
    `package.module:Name`."""
    lr: NotNegative = 1e-4
    """Peak learning rate of the network's weights, at the end of the warm-up. Source: original."""
    lr_min_ratio: NotNegative = 1.0
    """Ratio of the learning rate at the last step to its peak, reached along a cosine. 1: constant after the
    warm-up."""
    lr_warmup_steps: Count = 2000
    """Steps in which all learning rates rise linearly from 0 to their peaks. Source: original."""
    beta1: BelowOne = 0.9
    """Decay of the mean of the gradients, per step, of AdamATan2 and AdamW."""
    beta2: BelowOne = 0.95
    """Decay of the mean of the squared gradients, per step, of AdamATan2 and AdamW. Source: original."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of AdamATan2 and AdamW: a step with learning rate r multiplies the weights by 1 - r *
    weight_decay."""
    muon_lr: NotNegative = 0.02
    """Peak learning rate of Muon. Source: arXiv 2601.19085."""
    muon_momentum: BelowOne = 0.6
    """Momentum of Muon: decay of the mean of the gradients, per step. Source: arXiv 2601.19085."""
    muon_weight_decay: NotNegative = 0.005
    """Decoupled weight decay of Muon. Source: arXiv 2601.19085."""
    max_gradient_norm: NotNegative = 0.0
    """Largest norm of the gradient of the network's weights; a larger gradient is scaled down. 0: no limit."""
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
    random_starts: Probability = 0.0
    """Share of sequences that training starts from normally distributed latents instead of the initial ones, so that
    the network finds an answer from any start and a solver can start again (arXiv 2605.21488). Evaluation starts from
    the initial latents."""
    random_start_std: Positive = 1.0
    """Standard deviation of the latents of random starts."""
    anchors: Probability = 0.0
    """Share of sequences that training starts from their own answer with some cells wrong, so that answers become fixed
    points of the latents. Metrics of training count them, though most of their cells begin right; evaluations do not.
    Source: Fixed-Point-Reasoner-Structures, 2026."""
    anchor_errors: Probability = 0.2
    """Share of an anchor's cells that get the token of another cell of the answer."""
    path_noise: NotNegative = 0.0
    """Standard deviation of the normal noise that training adds to a latent after each pass, with recursion
    "equilibrium"; 0.01 in arXiv 2605.21488."""
    curriculum: tuple[Stage, ...] = ()
    """Stages [until, H_cycles, L_cycles]: until that share of all steps, training makes these numbers of cycles; after
    the last stage, the model's (arXiv 2511.08653). Evaluation always makes the model's."""
    microbatches: Count = 0
    """Pieces that each device cuts its share of the batch into: less memory, the same numbers. 0: on a CPU, as many as
    make a piece fit into the cache; elsewhere, one."""
    epochs: PositiveInt = 100_000
    """Passes over the groups (original puzzles) of the set; each pass draws one augmentation of each group."""
    eval_interval: PositiveInt = 10_000
    """Epochs between evaluations."""
    min_eval_interval: Count = 0
    """Evaluation intervals that pass before the first evaluation."""
    checkpoint_interval_steps: Count = 0
    """Steps between checkpoints, in addition to those at evaluations; 0: no additional ones."""
    checkpoint_interval_minutes: NotNegative = 15.0
    """Largest time between checkpoints, in minutes; 0: no limit."""
    keep_checkpoints: PositiveInt = 2
    """Resumable checkpoints kept in the run folder; the best weights are kept apart."""
    best_metric: Literal["exact_accuracy", "accuracy", "lm_loss", "pass@2"] = "exact_accuracy"
    """Evaluation metric that decides which weights are the best; pass@2 is for ARC only, with two attempts."""
    patience: Count = 0
    """Evaluations without a better `best_metric` after which the run ends; 0: never."""

    def __post_init__(self):
        check_ranges(self)
        require(
            self.global_batch_size % max(1, self.microbatches) == 0,
            "microbatches",
            self.microbatches,
            f"a divisor of global_batch_size {self.global_batch_size}",
        )
        require(
            self.random_starts + self.anchors <= 1,
            "anchors",
            self.anchors,
            f"at most 1 - random_starts {self.random_starts}",
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
                "optimizer.freeze_weights: found true with model.puzzle_emb_ndim 0, expected puzzle embeddings to train"
            )
