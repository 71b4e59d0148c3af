"""The recursion: what enters is an embedded puzzle and the latents, what leaves are better latents.

One call is one supervision step. A variant of the method is a class here and its name in `RECURSIONS`: embeddings,
blocks, heads, halting, loss, training and checkpoints are the same for all of them.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from trm.configuration.schema import ModelConfig, RecursionName
from trm.model.layers import Network, truncated_normal
from trm.model.precision import cast_once

N = TypeVar("N")
T = TypeVar("T")

Latent = Float[Array, "*batch_and_position hidden"]
"""One vector per position of every sequence, or a single one to start them all from."""
Hidden = Float[Array, "*batch position hidden"]


@runtime_checkable
class MakeNetwork(Protocol):
    """Makes a network of so many blocks."""

    def __call__(self, layers: int, *, key: PRNGKeyArray) -> Network: ...


class Latents(eqx.Module):
    """What a recursion refines; a subclass names its arrays."""


Z = TypeVar("Z", bound=Latents)


class Recursion(eqx.Module, Generic[Z]):
    """Refines latents by one or more networks."""

    initial: eqx.AbstractVar[Z]
    """The latents every puzzle starts from, the same at every position: constants, never trained."""

    @abc.abstractmethod
    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray): ...

    @abc.abstractmethod
    def __call__(self, x: Hidden, z: Z) -> Z:
        """Refine the latents of an embedded puzzle; gradients reach the networks and `x` through the last updates."""

    @abc.abstractmethod
    def answer(self, z: Z) -> Hidden:
        """Return the latent that the heads read."""


def draw_initial(latents: type[Z], config: ModelConfig, *, key: PRNGKeyArray) -> Z:
    """Draw the vectors that latents of a type start from, in the compute dtype."""
    dtype = jnp.dtype(config.forward_dtype)
    keys = jax.random.split(key, len(dataclasses.fields(latents)))
    return latents(*(truncated_normal(k, (config.hidden_size,), 1.0).astype(dtype) for k in keys))


def repeat(update: Callable[[T], T], z: T, times: int, unroll: bool = False) -> T:
    """Update so many times, in a scan; unrolled, the compiled program has no loop but the updates one after another."""
    return jax.lax.scan(lambda z, _: (update(z), None), z, length=times, unroll=unroll)[0]


def without_gradient(cycle: Callable[[N, Array, Z], Z], networks: N, x: Hidden, z: Z, times: int) -> Z:
    """Run so many cycles of `cycle(networks, x, z)` that no gradient passes."""
    # Freeze what goes in, not what comes out: then nothing of these cycles is kept for the backward pass.
    networks, x, z = jax.lax.stop_gradient((networks, x, z))
    return repeat(lambda z: cycle(networks, x, z), z, times)


class OneNetwork(Recursion[Z]):
    """Refines everything with one network, in `H_cycles` H cycles of which only the last is differentiated."""

    latents: eqx.AbstractClassVar[type]
    """The class of the latents."""
    network: Network
    initial: Z
    H_cycles: int = eqx.field(static=True)
    L_cycles: int = eqx.field(static=True)
    unroll: bool = eqx.field(static=True)
    """Whether the L cycles of an H cycle are unrolled: what they keep for the backward pass is then not stacked."""

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        network_key, latents_key = jax.random.split(key)
        self.network = make_network(config.L_layers, key=network_key)
        self.initial = draw_initial(self.latents, config, key=latents_key)
        self.H_cycles, self.L_cycles, self.unroll = config.H_cycles, config.L_cycles, config.unroll

    def __call__(self, x: Hidden, z: Z) -> Z:
        network = cast_once(self.network, x.dtype)
        z = without_gradient(self.h_cycle, network, x, z, self.H_cycles - 1)
        return self.h_cycle(network, x, z)

    @abc.abstractmethod
    def h_cycle(self, network: Network, x: Hidden, z: Z) -> Z:
        """Refine the reasoning `L_cycles` times, then the answer once."""


class TwoLatents(Latents):
    """`z_H` is the paper's answer y, `z_L` its reasoning z."""

    z_H: Latent
    z_L: Latent


class TRM(OneNetwork[TwoLatents]):
    """The Tiny Recursive Model (arXiv 2510.04871)."""

    latents = TwoLatents

    def h_cycle(self, network: Network, x: Hidden, z: TwoLatents) -> TwoLatents:
        injected = z.z_H + x
        z_L = repeat(lambda z_L: network(z_L + injected), z.z_L, self.L_cycles, self.unroll)
        return TwoLatents(z_H=network(z.z_H + z_L), z_L=z_L)

    def answer(self, z: TwoLatents) -> Hidden:
        return z.z_H


class SingleLatent(Latents):
    """Answer and reasoning in one."""

    z_L: Latent


class SingleZ(OneNetwork[SingleLatent]):
    """An ablation of TRM: one latent, refined `L_cycles` times with the puzzle in sight, then once without."""

    latents = SingleLatent

    def h_cycle(self, network: Network, x: Hidden, z: SingleLatent) -> SingleLatent:
        return SingleLatent(network(repeat(lambda z_L: network(z_L + x), z.z_L, self.L_cycles, self.unroll)))

    def answer(self, z: SingleLatent) -> Hidden:
        return z.z_L


class SixLatents(Latents):
    """An answer, and reasoning in six parts."""

    z_H: Latent
    z_L1: Latent
    z_L2: Latent
    z_L3: Latent
    z_L4: Latent
    z_L5: Latent
    z_L6: Latent


class Hier6(OneNetwork[SixLatents]):
    """An ablation of TRM: the i-th refinement of the reasoning replaces the i-th of six latents; their sum acts."""

    latents = SixLatents

    def h_cycle(self, network: Network, x: Hidden, z: SixLatents) -> SixLatents:
        injected = z.z_H + x

        def l_cycle(parts: list[Array], i: Array) -> tuple[list[Array], None]:
            refined = network(_add(parts) + injected)
            return [jnp.where(i == k, refined, part) for k, part in enumerate(parts)], None

        parts = [z.z_L1, z.z_L2, z.z_L3, z.z_L4, z.z_L5, z.z_L6]
        parts, _ = jax.lax.scan(l_cycle, parts, jnp.arange(self.L_cycles), unroll=self.unroll)
        return SixLatents(network(z.z_H + _add(parts)), *parts)

    def answer(self, z: SixLatents) -> Hidden:
        return z.z_H


def _add(parts: list[Array]) -> Array:
    return functools.reduce(jnp.add, parts)


class HRM(Recursion[TwoLatents]):
    """The Hierarchical Reasoning Model: a network for each latent, of which the last updates are differentiated.

    arXiv 2506.21734.
    """

    H_network: Network
    L_network: Network
    initial: TwoLatents
    H_cycles: int = eqx.field(static=True)
    L_cycles: int = eqx.field(static=True)

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        H_key, L_key, latents_key = jax.random.split(key, 3)
        self.H_network = make_network(config.H_layers, key=H_key)
        self.L_network = make_network(config.L_layers, key=L_key)
        self.initial = draw_initial(TwoLatents, config, key=latents_key)
        self.H_cycles, self.L_cycles = config.H_cycles, config.L_cycles

    def __call__(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        networks = cast_once((self.H_network, self.L_network), x.dtype)
        z = without_gradient(self._h_cycle, networks, x, z, self.H_cycles - 1)
        z = without_gradient(_l_update, networks, x, z, self.L_cycles - 1)
        return _h_update(networks, _l_update(networks, x, z))

    def _h_cycle(self, networks: tuple[Network, Network], x: Hidden, z: TwoLatents) -> TwoLatents:
        return _h_update(networks, repeat(lambda z: _l_update(networks, x, z), z, self.L_cycles))

    def answer(self, z: TwoLatents) -> Hidden:
        return z.z_H


def _l_update(networks: tuple[Network, Network], x: Hidden, z: TwoLatents) -> TwoLatents:
    return TwoLatents(z_H=z.z_H, z_L=networks[1](z.z_L + (z.z_H + x)))


def _h_update(networks: tuple[Network, Network], z: TwoLatents) -> TwoLatents:
    return TwoLatents(z_H=networks[0](z.z_H + z.z_L), z_L=z.z_L)


class AnswerLatent(Latents):
    """An answer without reasoning."""

    z_H: Latent


class TransformersBaseline(Recursion[AnswerLatent]):
    """No recursion within a supervision step: one pass of one network, differentiated."""

    H_network: Network
    initial: AnswerLatent

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        network_key, latents_key = jax.random.split(key)
        self.H_network = make_network(config.H_layers, key=network_key)
        self.initial = draw_initial(AnswerLatent, config, key=latents_key)

    def __call__(self, x: Hidden, z: AnswerLatent) -> AnswerLatent:
        # As it comes back from an earlier step: an answer, not a way for gradients.
        z = jax.lax.stop_gradient(z)
        return AnswerLatent(self.H_network(z.z_H + x))

    def answer(self, z: AnswerLatent) -> Hidden:
        return z.z_H


RECURSIONS: dict[RecursionName, type[Recursion]] = {
    "trm": TRM,
    "hrm": HRM,
    "trm_singlez": SingleZ,
    "trm_hier6": Hier6,
    "transformers_baseline": TransformersBaseline,
}
"""What the name in a configuration stands for."""
