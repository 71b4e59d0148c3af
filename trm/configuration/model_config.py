"""The section `model` of a configuration: the network and its recursion. Entry: `ModelConfig`.

Each recursion states which sizes it uses; `trm.model.recursions.check_model` checks them.
"""

import dataclasses
from typing import Annotated, Literal

from trm.configuration.ranges import BelowOne, Count, Positive, PositiveInt, Range, check_ranges, require
from trm.errors import InputError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and its recursion (arXiv 2510.04871, section 4)."""

    recursion: str = "trm"
    """Recursion: which latents are refined by which network, and how often. A name that `trm.model.recursions`
    registers, or a class of your own as `package.module:Class`."""
    state: Literal["cells", "digits"] = "cells"
    """Unit that has a latent vector. cells: each cell. digits: each digit at each cell, with weights that all digits
    share, so that relabelling the digits of a puzzle relabels its answer and changes nothing else; for Sudoku, without
    a prefix (DEC of Fixed-Point-Reasoner-Structures, 2026)."""
    hidden_size: PositiveInt = 512
    """Width of the latents: numbers per position. Source: original."""
    num_heads: PositiveInt = 8
    """Attention heads, at most hidden_size; their width is hidden_size // num_heads. Not used by the MLP mixer."""
    expansion: Annotated[float, Range(0, 1e6, "(]")] = 4.0
    """Width of the SwiGLU over its input width, before the factor 2/3 and rounding up."""
    inner_multiple: PositiveInt = 256
    """The inner width of every SwiGLU is rounded up to a multiple of this. Source of 256: original. With a small
    hidden_size 256 makes a step two to three times slower."""
    mixer: Literal["attention", "mlp"] = "attention"
    """Mixing of positions: self-attention, or a SwiGLU over the position axis (arXiv 2510.04871, section 4.5)."""
    fused_attention: bool = False
    """Whether attention on an NVIDIA GPU is the fused kernel of cuDNN (bfloat16 only), which does not write the matrix
    position x position to memory. The numbers stay the same within rounding. No effect on other devices."""
    gate: Literal["silu", "norm"] = "silu"
    """Gate of every SwiGLU: `silu(g) * v`, or `sigmoid(g) * rms(g * v)` (arXiv 2601.19085)."""
    positions: Literal["rope", "rope_grid", "learned", "none"] = "rope"
    """Position encoding. rope: rotary embeddings in attention (arXiv 2104.09864); rope_grid: rotary embeddings, one
    half for the row and the other for the column of a square board, without a prefix; learned: a learned vector added
    to each position's embedding; none: no encoding."""
    H_layers: Count = 0
    """Blocks of the network of the answer latent, in recursions with a second network (hrm, transformers_baseline)."""
    L_layers: Count = 2
    """Blocks of the network of the reasoning latent; in recursions with one network, of that network."""
    H_cycles: Count = 3
    """H cycles in a supervision step: updates of the answer latent."""
    L_cycles: Count = 6
    """L cycles in an H cycle: updates of the reasoning latent before the answer latent's."""
    differentiated_cycles: PositiveInt = 1
    """Number of H cycles, the last of a supervision step, that training differentiates: 1 to H_cycles. 1 is the method
    of arXiv 2510.04871. Memory and time of the backward pass grow with this number."""
    damping: BelowOne = 0.0
    """Share of the old latent that a pass keeps, with recursion "equilibrium"; 0.05 in arXiv 2605.21488."""
    puzzle_emb_ndim: Count | None = None
    """Numbers in a puzzle-embedding row; unset: hidden_size, or 0 with state "digits"; 0: no puzzle embedding and no
    prefix."""
    puzzle_emb_len: Count = 16
    """Prefix positions that hold the puzzle-embedding row, zero-padded; 0: the fewest that hold it. Source:
    original."""
    register: bool = False
    """Whether the prefix is one learned vector, which the halting head reads, instead of a puzzle embedding (arXiv
    2601.19085)."""
    rope_theta: Positive = 10000.0
    """Base of the wavelengths of rotary positions (arXiv 2104.09864)."""
    rms_norm_eps: Positive = 1e-5
    """Number added to the mean square under the root of the RMS norm. Source: original."""
    forward_dtype: Literal["float32", "bfloat16", "auto"] = "bfloat16"
    """Compute dtype: of latents and of the operands of matrix products. Weights and optimiser state stay float32. auto:
    bfloat16 on a GPU, a TPU and a CPU with bfloat16 units, else float32; a run records the choice."""
    remat: bool = False
    """Whether the backward pass recomputes the activations of each network instead of storing them: less memory, the
    same numbers within rounding, about a fifth more time."""
    unroll: bool = False
    """Whether the L cycles are compiled one after another instead of as a loop. The residuals of the backward pass are
    then not copied into stacks and out, which saves a sixth of a GPU's memory traffic in training and takes more memory
    and compile time."""
    plain_derivatives: bool = False
    """Whether JAX differentiates everything by its own rules, for analysis: `jax.jvp`, `jax.jacfwd` and second
    derivatives work, and derivatives pass through the latents from one supervision step to the next. Values stay the
    same. Reverse mode takes more memory and, in bfloat16, two to four times the time."""

    def __post_init__(self):
        check_ranges(self)
        require(
            self.num_heads <= self.hidden_size, "num_heads", self.num_heads, f"at most hidden_size {self.hidden_size}"
        )
        if self.state == "digits":
            for name, expected in (("puzzle_emb_ndim", (None, 0)), ("register", (False,))):
                found = getattr(self, name)
                require(found in expected, name, found, f"{expected[-1]!r} with state 'digits', which has no prefix")
        if self.register and self.row_size:
            raise InputError(
                f"register: found true with puzzle_emb_ndim {self.row_size}, expected 0: both take the same position"
            )
        if self.fused_attention:
            self._check_fused_attention()
        if self.positions.startswith("rope"):
            self._check_rope()
        if self.row_size and 0 < self.puzzle_emb_len < self._smallest_prefix:
            raise InputError(
                f"puzzle_emb_len: found {self.puzzle_emb_len}, expected 0 or at least {self._smallest_prefix} "
                f"to hold puzzle_emb_ndim {self.row_size} at hidden_size {self.hidden_size}"
            )

    def _check_rope(self) -> None:
        if self.mixer == "mlp":
            raise InputError(
                f"positions: found {self.positions!r} with mixer 'mlp', expected 'none' or 'learned' "
                f"(rope acts in attention)"
            )
        if self.positions == "rope_grid" and self.prefix_len:
            raise InputError(
                f"positions: found 'rope_grid' with {self.prefix_len} prefix positions, expected none "
                f"(puzzle_emb_ndim 0 and register false): a prefix is not on the board"
            )
        parts, expected = (4, "a multiple of 4") if self.positions == "rope_grid" else (2, "an even one")
        if self.head_size % parts:
            raise InputError(
                f"num_heads: found head size {self.head_size} = {self.hidden_size} // {self.num_heads}, "
                f"expected {expected} ({self.positions})"
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
        if self.puzzle_emb_ndim is None:
            return 0 if self.state == "digits" else self.hidden_size
        return self.puzzle_emb_ndim

    @property
    def _smallest_prefix(self) -> int:
        return -(-self.row_size // self.hidden_size)

    @property
    def prefix_len(self) -> int:
        """Positions before the puzzle's tokens: those of the puzzle embedding, or of the register, or none."""
        return (self.puzzle_emb_len or self._smallest_prefix) if self.row_size else int(self.register)
