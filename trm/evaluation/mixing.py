"""Mixing of positions: attention weights, or the influence of each position on each other through an MLP mixer.

Entry: `mixing_of`; `relations` of a board's cells, `by_relation` and `by_offset` for means over pairs of cells.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from trm.configuration.schema import ModelConfig
from trm.model.blocks import AttentionMixer, MLPMixer
from trm.model.layers import SwiGLU
from trm.model.reasoner import reconfigure
from trm.model.weights import Weights
from trm.puzzles.kinds.kind import Picture

CHANNELS = 16
"""Largest number of channels in the mean of the influence through an MLP."""


class Mixing(NamedTuple):
    """Mixing of positions in one block, as shares that add up to 1 for each head and `to` position."""

    block: str
    """Path of the block in the network."""
    method: str
    """"attention": attention weights. "influence": the absolute derivative of the mixer, as shares; one head."""
    shares: Float[np.ndarray, "head to from"]
    """Mean over the puzzles and all calls of the block in the first supervision step. Prefix positions come first."""
    prefix: int
    """Positions before the cells."""

    @property
    def cells(self) -> Float[np.ndarray, "head cell from_cell"]:
        """The shares between cells, without the prefix."""
        return self.shares[:, self.prefix :, self.prefix :]


def mixing_of(
    weights: Weights,
    config: ModelConfig,
    inputs: Integer[np.ndarray, "batch seq_len"],
    puzzle_identifiers: Integer[np.ndarray, " batch"],
) -> list[Mixing]:
    """Return the mixing of all blocks during the first supervision step on a few puzzles."""
    weights = jax.tree.map(jnp.asarray, weights)
    # Neither setting changes the numbers; both would hide the inputs of a block.
    model = reconfigure(weights.model, dataclasses.replace(config, remat=False, fused_attention=False))
    names = {id(mixer): name for name, mixer in _mixers(model.recursion)}
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names.values()}

    def watch(mixer: AttentionMixer | MLPMixer) -> "_Watched":
        return _Watched(mixer, lambda h: seen[names[id(mixer)]].append(np.asarray(h)))

    watched = eqx.tree_at(
        lambda tree: [mixer for _, mixer in _mixers(tree.recursion)],
        model,
        [watch(mixer) for _, mixer in _mixers(model.recursion)],
    )
    rows = weights.puzzle_table[jnp.asarray(puzzle_identifiers)]
    # Without compilation every call of a block calls the recorder, in any loop of any recursion.
    with jax.disable_jit():
        watched(jnp.asarray(inputs, jnp.int32), rows, model.initial_latents(inputs.shape))
    found = []
    for name, mixer in _mixers(model.recursion):
        if seen[name]:
            measure = _measure(mixer)
            shares = np.mean([np.asarray(measure(jnp.asarray(h)), np.float64) for h in seen[name]], axis=0)
            method = "attention" if isinstance(mixer, AttentionMixer) else "influence"
            found.append(Mixing(name, method, shares.astype(np.float32), model.prefix_len))
    return found


# Boards


def relations(picture: Picture, cells: int) -> dict[str, Bool[np.ndarray, "cell from_cell"]]:
    """Return which pairs of cells are related, by name of the relation; a pair may have several relations."""
    row, column = np.divmod(np.arange(cells), picture.width)

    def same(values: Integer[np.ndarray, " cells"]) -> Bool[np.ndarray, "cell from_cell"]:
        return values[:, None] == values[None, :]

    itself = np.eye(cells, dtype=bool)
    found = {"itself": itself, "same row": same(row) & ~itself, "same column": same(column) & ~itself}
    if picture.box:
        high, wide = picture.box
        found["same box"] = same(row // high * picture.width + column // wide) & ~itself
    else:
        apart = np.abs(row[:, None] - row[None, :]) + np.abs(column[:, None] - column[None, :])
        found["neighbour"] = apart == 1
    related = np.any(list(found.values()), axis=0)
    return {name: pairs for name, pairs in (found | {"other": ~related}).items() if pairs.any()}


def by_relation(
    cells: Float[np.ndarray, "head cell from_cell"], pairs: dict[str, Bool[np.ndarray, "cell from_cell"]]
) -> dict[str, Float[np.ndarray, " head"]]:
    """Return the mean share of related cells over the mean share of all cells, by relation."""
    mean = cells.mean(axis=(1, 2))
    return {name: cells[:, of].mean(axis=1) / mean for name, of in pairs.items()}


def by_offset(shares: Float[np.ndarray, "cell from_cell"], width: int) -> Float[np.ndarray, "rows columns"]:
    """Return the mean share by offset in rows and columns; offset 0 is in the middle."""
    cells = len(shares)
    row, column = np.divmod(np.arange(cells), width)
    height = math.ceil(cells / width)
    down = row[None, :] - row[:, None] + height - 1
    right = column[None, :] - column[:, None] + width - 1
    places = (down * (2 * width - 1) + right).ravel()
    size = (2 * height - 1) * (2 * width - 1)
    counts = np.bincount(places, minlength=size)
    sums = np.bincount(places, shares.ravel().astype(np.float64), minlength=size)
    return (sums / np.maximum(counts, 1)).reshape(2 * height - 1, 2 * width - 1)


# Watching


class _Watched(eqx.Module):
    """A mixer that passes its inputs to a function."""

    mixer: AttentionMixer | MLPMixer
    see: Callable[[Array], None] = eqx.field(static=True)

    def __call__(self, h: Float[Array, "*batch position hidden"], eps: float) -> Float[Array, "*batch position hidden"]:
        self.see(h)
        return self.mixer(h, eps)


def _mixers(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the mixers of a recursion, with their paths."""

    def is_mixer(node: Any) -> bool:
        return isinstance(node, AttentionMixer | MLPMixer | _Watched)

    for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_mixer)[0]:
        if is_mixer(node):
            yield jax.tree_util.keystr(path).removeprefix(".").removesuffix(".mixer"), node


def _measure(mixer: AttentionMixer | MLPMixer) -> Callable[[Array], Array]:
    """Return the compiled function from the inputs of a call to the shares (head, to, from)."""
    if isinstance(mixer, AttentionMixer):
        attention = mixer.attention
        return jax.jit(lambda h: attention.weights(h).mean(axis=tuple(range(h.ndim - 2))))
    return jax.jit(partial(_influence, mixer.mlp))


def _influence(mlp: SwiGLU, h: Float[Array, "*batch position hidden"]) -> Float[Array, "1 to from"]:
    # The mixer is a function of the positions of one channel, the same for every channel.
    stride = math.ceil(h.shape[-1] / CHANNELS)
    channels = h[..., ::stride].swapaxes(-1, -2).reshape(-1, h.shape[-2]).astype(jnp.float32)
    derivative = jax.jacrev(lambda x: mlp(x[None])[0])

    def add(total: Array, x: Array) -> tuple[Array, None]:
        return total + jnp.abs(derivative(x)), None

    # One after another: on a board of 900 cells the derivative of each channel has 810,000 numbers.
    total = jax.lax.scan(add, jnp.zeros((h.shape[-2], h.shape[-2]), jnp.float32), channels)[0]
    return (total / total.sum(axis=-1, keepdims=True))[None]
