"""Recursions: the base class `Recursion`, its latents, and parts to build recursions of.

One call of a recursion is one supervision step: it refines the latents of an embedded puzzle. A variant of the method
is one class, which declares what it reads of the configuration, which latent is the answer, and how often it passes
through its networks. Embeddings, blocks, heads, halting, loss, training and checkpoints are the same for all of them.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from trm.configuration.registry import Registry
from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.blocks import Network
from trm.model.layers import truncated_normal
from trm.model.precision import cast_once
from trm.parallel.processor import resolve_dtype

T = TypeVar("T")
W = TypeVar("W")

Latent = Float[Array, "*batch_and_position hidden"]
"""One vector per position of every sequence, or a single one that all positions start from."""
Hidden = Float[Array, "*batch position hidden"]
"""One vector per position; with the state "digits" the last axis of the batch is that of the digits."""


@runtime_checkable
class MakeNetwork(Protocol):
    """Makes a network of `layers` blocks."""

    def __call__(self, layers: int, *, key: PRNGKeyArray) -> Network: ...


class Latents(eqx.Module):
    """The arrays that a recursion refines; a subclass names them."""


Z = TypeVar("Z", bound=Latents)


class Passes(NamedTuple):
    """How often a supervision step passes through one network."""

    layers: int
    """Blocks of the network."""
    total: int
    """Passes in a supervision step."""
    differentiated: int
    """The passes among them that are differentiated in training."""


class Recursion(eqx.Module, Generic[Z]):
    """Refines latents by one or more networks."""

    settings: eqx.AbstractClassVar[tuple[str, ...]]
    """The keys of `UNUSED_VALUES` that the class reads; the other keys must keep the values given there."""
    largest: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Largest allowed value of a key, for keys that have one."""
    answer_latent: eqx.AbstractClassVar[str]
    """The latent that the heads read."""
    reasoning_latents: eqx.AbstractClassVar[tuple[str, ...]]
    """The latents that hold the reasoning."""
    initial: eqx.AbstractVar[Z]
    """The latents every puzzle starts from, the same at every position: constants, never trained."""

    @abc.abstractmethod
    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray): ...

    @abc.abstractmethod
    def __call__(self, x: Hidden, z: Z) -> Z:
        """Refine the latents of an embedded puzzle; gradients reach the networks and `x` through the last updates."""

    @classmethod
    @abc.abstractmethod
    def passes(cls, config: ModelConfig) -> tuple[Passes, ...]:
        """Count the passes through each network in a supervision step."""

    def every_cycle(self, x: Hidden, z: Z) -> Z:
        """Return the latents after each H cycle of a supervision step, on a first axis; without cycles, after the step.

        For analysis, not for training. The last latents equal those of a call up to rounding.
        """
        return jax.tree.map(lambda leaf: leaf[None], self(x, z))

    def answer(self, z: Z) -> Hidden:
        """Return the latent that the heads read."""
        return getattr(z, self.answer_latent)


RECURSIONS = Registry[type[Recursion]]("model.recursion", Recursion)
"""Recursion classes by the names that `model.recursion` takes."""

SIZES = ("H_layers", "L_layers", "H_cycles", "L_cycles")
UNUSED_VALUES: Mapping[str, Any] = MappingProxyType(
    dict.fromkeys(SIZES, 0) | {"unroll": False, "differentiated_cycles": 1, "damping": 0.0}
)
"""Keys of the model that a recursion may leave unread, with the only value that such a key may have."""


def unused_sizes(name: str) -> dict[str, int]:
    """Return the sizes that a recursion does not read, each 0."""
    return {key: 0 for key in SIZES if key not in RECURSIONS[name].settings}


def check_model(config: ModelConfig) -> None:
    """Raise InputError, naming the key, where the configuration does not fit its recursion."""
    recursion = RECURSIONS[config.recursion]
    read = recursion.settings
    for key, default in UNUSED_VALUES.items():
        found, largest = getattr(config, key), recursion.largest.get(key, math.inf)
        if key not in read and found != default:
            raise InputError(
                f"model.{key}: found {found!r}, expected {default!r}: recursion {config.recursion!r} does not use it"
            )
        if key in read and type(default) is int and found < 1:
            raise InputError(f"model.{key}: found {found!r}, expected more than 0")
        if found > largest:
            raise InputError(
                f"model.{key}: found {found!r}, expected at most {largest} with recursion {config.recursion!r}"
            )
    if "differentiated_cycles" in read and config.differentiated_cycles > config.H_cycles:
        raise InputError(
            f"model.differentiated_cycles: found {config.differentiated_cycles}, "
            f"expected at most model.H_cycles {config.H_cycles}"
        )


# Parts of recursions


def draw_initial(latents: type[Z], config: ModelConfig, *, key: PRNGKeyArray) -> Z:
    """Draw one initial vector for each latent of a type, in the compute dtype."""
    dtype = jnp.dtype(resolve_dtype(config.forward_dtype))
    keys = jax.random.split(key, len(dataclasses.fields(latents)))
    return latents(*(truncated_normal(k, (config.hidden_size,), 1.0).astype(dtype) for k in keys))


def repeat(update: Callable[[T], T], z: T, times: int, unroll: bool = False) -> T:
    """Update `times` times, in a scan; `unroll`: compile one update after another, without a loop."""
    return jax.lax.scan(lambda z, _: (update(z), None), z, length=times, unroll=unroll)[0]


def repeat_and_keep(update: Callable[[T], T], z: T, times: int) -> T:
    """Update `times` times; return the values after each update, on a first axis."""

    def keep(z: T, _: None) -> tuple[T, T]:
        z = update(z)
        return z, z

    return jax.lax.scan(keep, z, length=times)[1]


def without_gradient(cycle: Callable[[W, Array, Z], Z], weights: W, x: Hidden, z: Z, times: int) -> Z:
    """Run `cycle(weights, x, z)` `times` times without gradients."""
    if not times:
        return z
    # Freeze what goes in, not what comes out: then nothing of these cycles is kept for the backward pass.
    weights, x, z = jax.lax.stop_gradient((weights, x, z))
    return repeat(lambda z: cycle(weights, x, z), z, times)


class TwoLatents(Latents):
    """`z_H` is the paper's answer y, `z_L` its reasoning z."""

    z_H: Latent
    z_L: Latent


class OneNetwork(Recursion[Z]):
    """Refines everything with one network, in `H_cycles` H cycles, the last of which are differentiated."""

    settings = ("L_layers", "H_cycles", "L_cycles", "unroll", "differentiated_cycles")
    latents: eqx.AbstractClassVar[type]
    """The class of the latents."""
    network: Network
    initial: Z
    H_cycles: int = eqx.field(static=True)
    L_cycles: int = eqx.field(static=True)
    differentiated_cycles: int = eqx.field(static=True)
    """Number of H cycles, the last ones, that gradients pass through."""
    unroll: bool = eqx.field(static=True)
    """Whether differentiated cycles are unrolled; their residuals are then not stacked."""

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        network_key, latents_key = jax.random.split(key)
        self.network = make_network(config.L_layers, key=network_key)
        self.initial = draw_initial(self.latents, config, key=latents_key)
        self.H_cycles, self.L_cycles, self.unroll = config.H_cycles, config.L_cycles, config.unroll
        self.differentiated_cycles = config.differentiated_cycles

    def __call__(self, x: Hidden, z: Z) -> Z:
        # The first cycles freeze the whole module, not the network only: a subclass may have more parameters.
        cast = eqx.tree_at(lambda recursion: recursion.network, self, cast_once(self.network, x.dtype))
        z = without_gradient(type(self).h_cycle, cast, x, z, self.H_cycles - self.differentiated_cycles)
        if self.differentiated_cycles > 1:
            z = repeat(lambda z: cast.h_cycle(x, z), z, self.differentiated_cycles - 1, self.unroll)
        return cast.h_cycle(x, z)

    def every_cycle(self, x: Hidden, z: Z) -> Z:
        cast = eqx.tree_at(lambda recursion: recursion.network, self, cast_once(self.network, x.dtype))
        return repeat_and_keep(lambda z: cast.h_cycle(x, z), z, self.H_cycles)

    @abc.abstractmethod
    def h_cycle(self, x: Hidden, z: Z) -> Z:
        """Run one H cycle: refine the reasoning, then the answer."""

    @classmethod
    @abc.abstractmethod
    def cycle_passes(cls, config: ModelConfig) -> int:
        """Count the passes through the network in an H cycle."""

    @classmethod
    def passes(cls, config: ModelConfig) -> tuple[Passes, ...]:
        cycle = cls.cycle_passes(config)
        return (Passes(config.L_layers, config.H_cycles * cycle, config.differentiated_cycles * cycle),)
