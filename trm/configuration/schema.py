"""The configuration of one experiment: what enters is a TOML file and `--set` options, what leaves is a frozen
`Config`.

Every number of an experiment lives here and nowhere else. The defaults are those that all published TRM experiments
share; a file in `configs/` holds only what differs. All validation of a configuration in itself happens in this module;
what depends on a puzzle set or on the devices is checked where these are known.
"""

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from beartype.door import is_bearable

from trm.errors import InputError


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the puzzle set lies."""

    path: str | tuple[str, ...] = ""
    """Directory of the puzzle set to train on, with `train/` and `test/`; or several, whose batches take turns."""
    test_path: str | tuple[str, ...] = ""
    """Directory, or several, whose `test/` is evaluated; empty: as in `path`."""
    validation: int = 0
    """Groups of the training set that are held back from training; the best weights and the early stop are chosen on
    them. 0: none, and both are chosen on the test set, as in the original. Not for ARC."""

    def __post_init__(self):
        _require(self.validation >= 0, "validation", self.validation, "0 or more")

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
    """Which latents are refined by which network, and how often: a name in `trm.model.recursions`, or
    `package.module:Class`."""
    hidden_size: int = 512
    num_heads: int = 8
    expansion: float = 4.0
    """Width of the SwiGLU over the hidden size, before the factor 2/3 and rounding up to a multiple of 256."""
    mixer: Literal["attention", "mlp"] = "attention"
    """What mixes positions: self-attention, or a SwiGLU over the position axis."""
    fused_attention: bool = False
    """Whether attention is a kernel of cuDNN on an NVIDIA GPU (bfloat16 only): position x position is not written to
    memory, and the numbers are the same within rounding. On other devices nothing changes."""
    gate: Literal["silu", "norm"] = "silu"
    """The gate of every SwiGLU: `silu(g) * v`, or `sigmoid(g) * rms(g * v)` (arXiv 2601.19085)."""
    positions: Literal["rope", "learned", "none"] = "rope"
    H_layers: int = 0
    """Blocks of the network that refines the answer, where it has one of its own (hrm, transformers_baseline)."""
    L_layers: int = 2
    """Blocks of the network that refines the reasoning, and the answer too where that has none of its own."""
    H_cycles: int = 3
    """Times the answer is refined in a supervision step."""
    differentiated_cycles: int = 1
    """H cycles, the last of a supervision step, that training differentiates, 1 to H_cycles. 1 is the method of arXiv
    2510.04871; memory and time of the backward pass grow with it."""
    L_cycles: int = 6
    """Times the reasoning latent is refined before the answer is."""
    puzzle_emb_ndim: int | None = None
    """Numbers in a puzzle's embedding row; unset: `hidden_size`; 0: no puzzle embedding and no prefix."""
    puzzle_emb_len: int = 16
    """Prefix positions that hold the row, zero-padded; 0: as few as hold it."""
    register: bool = False
    """A learned vector as the only prefix position, which the halting head reads, in place of a puzzle embedding."""
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    forward_dtype: Literal["float32", "bfloat16"] = "bfloat16"
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
        _require_positive(self, "hidden_size num_heads expansion rope_theta rms_norm_eps")
        _require(
            self.num_heads <= self.hidden_size, "num_heads", self.num_heads, f"at most hidden_size {self.hidden_size}"
        )
        _require(self.puzzle_emb_len >= 0, "puzzle_emb_len", self.puzzle_emb_len, "0 or more")
        _require(self.row_size >= 0, "puzzle_emb_ndim", self.puzzle_emb_ndim, "0 or more")
        if self.register and self.row_size:
            raise InputError(
                f"register: found true with puzzle_emb_ndim {self.row_size}, expected 0, for it has its place"
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
            _require(found == expected, name, found, f"{expected!r} with fused_attention true")
        if self.head_size % 8 or self.head_size > 128:
            raise InputError(
                f"num_heads: found head size {self.head_size} = {self.hidden_size} // {self.num_heads}, "
                f"expected a multiple of 8 up to 128 with fused_attention true"
            )

    def with_cycles(self, H_cycles: int, L_cycles: int) -> "ModelConfig":
        """Return the same model with other cycles; raise InputError where it cannot have them."""
        return dataclasses.replace(self, H_cycles=H_cycles, L_cycles=L_cycles)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def row_size(self) -> int:
        """Numbers in a puzzle's embedding row."""
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
    """Adaptive computation: how many supervision steps a puzzle gets."""

    halt_max_steps: int = 16
    halt_exploration_prob: float = 0.1
    """Probability that a sequence must run at least m steps, m uniform on 2..halt_max_steps, drawn at every step."""
    q_continue: Literal["unused", "compared", "learned"] = "unused"
    """unused: halt on q_halt > 0; compared: on q_halt > q_continue; learned: compared, and q_continue is bootstrapped
    from what the next step promises, which costs a second pass in training."""
    act_enabled: bool = True
    """Whether sequences may halt before halt_max_steps in training."""
    refill: Literal["slot", "queue"] = "slot"
    """Where the next puzzle of a slot that has halted comes from, in training. slot: from the slot's row of the step's
    batch, and rows offered to other slots are lost, as in the original; queue: from the head of the queue of all rows,
    so that none is lost, and fewer are used up: `epochs` then says how many passes as many whole batches would make."""
    act_inference: bool = False
    """Whether an evaluation takes the answer at which the halting head would stop, not that of the last step."""

    def __post_init__(self):
        _require_positive(self, "halt_max_steps")
        _require(
            0 <= self.halt_exploration_prob <= 1, "halt_exploration_prob", self.halt_exploration_prob, "a probability"
        )


LossType = Literal["stablemax_cross_entropy", "softmax_cross_entropy"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The loss of a sequence: of its tokens, and of the halting head."""

    type: LossType = "stablemax_cross_entropy"
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the vocabulary (arXiv 1512.00567)."""
    halting_weight: float = 0.5
    """Weight of the halting head's losses beside the token loss."""
    step_decay: float = 1.0
    """The t-th supervision step of a sequence weighs `step_decay ** (t - 1)` (arXiv 2511.08653)."""

    def __post_init__(self):
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        _require(self.halting_weight >= 0, "halting_weight", self.halting_weight, "0 or more")
        _require(0 < self.step_decay <= 1, "step_decay", self.step_decay, "in (0, 1]")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """One optimiser for the network, sign SGD for the puzzle embeddings, one schedule for both, EMA for evaluation."""

    type: str = "adam_atan2"
    """adam_atan2: for every weight; muon: Muon for the matrices of the networks, and AdamW, with the rates below, for
    all else: embeddings, register, heads; or another, as `package.module:function`."""
    lr: float = 1e-4
    lr_min_ratio: float = 1.0
    """The learning rate at the last step over `lr`; the way there is a cosine."""
    lr_warmup_steps: int = 2000
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    muon_lr: float = 0.02
    muon_momentum: float = 0.6
    muon_weight_decay: float = 0.005
    max_gradient_norm: float = 0.0
    """The gradient of the network's weights is scaled down to this norm where it is longer; 0: never."""
    puzzle_emb_lr: float = 1e-2
    puzzle_emb_weight_decay: float = 0.1
    freeze_weights: bool = False
    """Train the puzzle embeddings alone."""
    ema: bool = True
    ema_rate: float = 0.999
    ema_start_step: int = 0
    """The first step at which the moving average moves at its rate; before, it equals the weights."""

    def __post_init__(self):
        for name in (
            "lr lr_min_ratio lr_warmup_steps weight_decay muon_lr muon_weight_decay max_gradient_norm puzzle_emb_lr "
            "puzzle_emb_weight_decay ema_start_step"
        ).split():
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in "beta1 beta2 muon_momentum ema_rate".split():
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        if self.type == "adam_atan2":
            for name in "muon_lr muon_momentum muon_weight_decay".split():
                _require_default(self, name, f"with type {self.type!r}")
        if not self.ema:
            for name in "ema_rate ema_start_step".split():
                _require_default(self, name, "with ema false")
        if self.freeze_weights:
            for name in "type max_gradient_norm".split():
                _require_default(self, name, "with freeze_weights true")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The run: how long, how large a batch, how often to evaluate, what to keep."""

    seed: int = 0
    global_batch_size: int = 768
    """Sequences in a step, over all devices."""
    curriculum: tuple[tuple[float, int, int], ...] = ()
    """Stages (until, H_cycles, L_cycles) in which training runs fewer cycles than the model has: up to this share of
    all steps, so many (arXiv 2511.08653). Evaluation runs those of the model."""
    microbatches: int = 1
    """Pieces that each device cuts its share of the batch into, to train in less memory with the same numbers."""
    epochs: int = 100_000
    """Passes over the groups (original puzzles) of the set; each pass draws one augmentation of each."""
    eval_interval: int = 10_000
    """Epochs between evaluations."""
    min_eval_interval: int = 0
    """Evaluation intervals that pass before the first evaluation."""
    checkpoint_interval_steps: int = 0
    """Steps between checkpoints besides those at evaluations; 0: none besides."""
    keep_checkpoints: int = 2
    """Resumable checkpoints kept in the run folder; the best weights are kept apart."""
    best_metric: Literal["exact_accuracy", "accuracy", "lm_loss", "pass@2"] = "exact_accuracy"
    """The evaluation metric that decides which weights are the best; pass@2 is of ARC alone, with two attempts."""
    patience: int = 0
    """Evaluations without a better `best_metric` after which the run ends; 0: never."""

    def __post_init__(self):
        _require_positive(self, "global_batch_size microbatches epochs eval_interval keep_checkpoints")
        for name in "seed min_eval_interval checkpoint_interval_steps patience".split():
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.seed < 2**32, "seed", self.seed, "less than 2**32")
        _require(
            self.global_batch_size % self.microbatches == 0,
            "microbatches",
            self.microbatches,
            f"a divisor of global_batch_size {self.global_batch_size}",
        )
        before = 0.0
        for stage in self.curriculum:
            holds = is_bearable(stage, tuple[float, int, int]) and before < stage[0] < 1 and min(stage) > 0
            holds = holds and bool not in map(type, stage)
            expected = "stages [until, H_cycles, L_cycles] with shares `until` that rise between 0 and 1"
            _require(holds, "curriculum", stage, expected)
            before = stage[0]


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
        for _, H_cycles, L_cycles in self.train.curriculum:
            try:
                self.model.with_cycles(H_cycles, L_cycles)
            except InputError as error:
                raise InputError(f"train.curriculum: {error}") from error


def read_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply `section.key=value` settings on top.

    Raises InputError, naming file and key, for a missing or malformed file, an unknown key, a wrong type or an
    impossible combination.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    try:
        return config_from_tables(tables, settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def config_from_tables(tables: Mapping[str, Any], settings: Sequence[str] = ()) -> Config:
    """Build a Config from nested tables and `section.key=value` settings; raise InputError naming the key."""
    for section, table in tables.items():
        _known(section, _SECTIONS, "section")
        if not isinstance(table, Mapping):
            raise InputError(f"{section}: found {table!r}, expected a table [{section}]")
    merged = {section: dict(tables.get(section, {})) for section in _SECTIONS}
    for setting in settings:
        section, key, value = _parse_setting(setting)
        merged[section][key] = value
    return Config(**{section: _section(section, kind, merged[section]) for section, kind in _SECTIONS.items()})


def config_to_tables(config: Config) -> dict[str, dict[str, Any]]:
    """Turn a Config into nested plain values (unset keys left out); `config_from_tables` undoes it."""
    return {
        section: {key: value for key, value in table.items() if value is not None}
        for section, table in dataclasses.asdict(config).items()
    }


def config_to_toml(config: Config) -> str:
    """Write out every value of a Config as TOML; `read_config` undoes it."""
    lines = []
    for section, table in config_to_tables(config).items():
        # A TOML basic string, boolean, integer or float is written as JSON writes it.
        lines += [
            f"[{section}]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()),
            "",
        ]
    return "\n".join(lines)


_SECTIONS: dict[str, type] = get_type_hints(Config)


def _parse_setting(setting: str) -> tuple[str, str, Any]:
    name, equals, text = setting.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot):
        raise InputError(f"--set {setting!r}: expected section.key=value")
    _known(section, _SECTIONS, "section")
    _known(key, get_type_hints(_SECTIONS[section]), "key", section)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # A bare word is a string, so that a shell needs no second pair of quotes.
    return section, key, value


def _section(name: str, kind: type, table: Mapping[str, Any]):
    hints = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        _known(key, hints, "key", name)
        value = _freeze(value)
        # 1e5 is a float in TOML and means 100000 epochs; 1 is an integer in TOML and may mean a rate of 1.0.
        if hints[key] is float and type(value) is int:
            value = float(value)
        elif hints[key] is int and type(value) is float and value.is_integer():
            value = int(value)
        # Of a long tuple beartype looks at one item, at random.
        parts = [(item,) for item in value] if isinstance(value, tuple) else [value]
        fits = all(is_bearable(part, hints[key]) for part in parts)
        if (type(value) is bool and hints[key] is not bool) or not fits:
            raise InputError(f"{name}.{key}: found {value!r}, expected {_describe(hints[key])}")
        if type(value) is float and not math.isfinite(value):
            raise InputError(f"{name}.{key}: found {value}, expected a finite number")
        values[key] = value
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{name}.{error}") from error


def _freeze(value: Any) -> Any:
    """Turn lists into tuples, in which a configuration can be compared and hashed."""
    return tuple(map(_freeze, value)) if isinstance(value, list) else value


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", int | None: "an integer"}
    names[str | tuple[str, ...]] = "a string or a list of strings"
    names[tuple[tuple[float, int, int], ...]] = "a list of stages [until, H_cycles, L_cycles]"
    return names.get(hint, str(hint))


def _known(name: str, names: Mapping[str, Any], what: str, section: str | None = None) -> None:
    if name not in names:
        where = f"{section}.{name}" if section else name
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        elsewhere = [s for s in _SECTIONS if name in get_type_hints(_SECTIONS[s])]
        if close:
            hint = f"did you mean {close[0]!r}?"
        elif elsewhere:
            hint = f"did you mean {elsewhere[0]}.{name}?"
        else:
            hint = f"expected one of {', '.join(names)}"
        raise InputError(f"{where}: unknown {what}, {hint}")


def _require(holds: bool, name: str, found: Any, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: found {found!r}, expected {expected}")


def _require_default(config: Any, name: str, when: str) -> None:
    """Refuse a key that would be set in vain."""
    found, default = getattr(config, name), getattr(type(config), name)
    _require(found == default, name, found, f"{default!r} {when}, which has no use for it")


def _require_positive(config: Any, names: str) -> None:
    for name in names.split():
        _require(getattr(config, name) > 0, name, getattr(config, name), "more than 0")
