"""Ablations of TRM: one latent instead of two, and six reasoning latents (arXiv 2510.04871, section 4.3)."""

import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array

from trm.configuration.schema import ModelConfig
from trm.model.recursions.base import RECURSIONS, Hidden, Latent, Latents, OneNetwork, repeat


class SingleLatent(Latents):
    """One latent for answer and reasoning."""

    z_L: Latent


@RECURSIONS.register("trm_singlez")
class SingleZ(OneNetwork[SingleLatent]):
    """One latent, refined `L_cycles` times with the puzzle added, then once without."""

    latents = SingleLatent
    answer_latent = "z_L"
    reasoning_latents = ("z_L",)

    def h_cycle(self, x: Hidden, z: SingleLatent) -> SingleLatent:
        z_L = repeat(lambda z_L: self.network(z_L + x), z.z_L, self.L_cycles, self.unroll)
        return SingleLatent(self.network(z_L))

    @classmethod
    def cycle_passes(cls, config: ModelConfig) -> int:
        return config.L_cycles + 1


class SixLatents(Latents):
    """An answer latent and six reasoning latents."""

    z_H: Latent
    z_L1: Latent
    z_L2: Latent
    z_L3: Latent
    z_L4: Latent
    z_L5: Latent
    z_L6: Latent


@RECURSIONS.register("trm_hier6")
class Hier6(OneNetwork[SixLatents]):
    """The i-th L cycle replaces the i-th of six reasoning latents; each pass reads their sum."""

    latents = SixLatents
    largest = MappingProxyType({"L_cycles": 6})
    answer_latent = "z_H"
    reasoning_latents = ("z_L1", "z_L2", "z_L3", "z_L4", "z_L5", "z_L6")

    def h_cycle(self, x: Hidden, z: SixLatents) -> SixLatents:
        injected = z.z_H + x

        def l_cycle(parts: list[Array], i: Array) -> tuple[list[Array], None]:
            refined = self.network(_add(parts) + injected)
            return [jnp.where(i == k, refined, part) for k, part in enumerate(parts)], None

        parts = [getattr(z, name) for name in self.reasoning_latents]
        parts, _ = jax.lax.scan(l_cycle, parts, jnp.arange(self.L_cycles), unroll=self.unroll)
        return SixLatents(self.network(z.z_H + _add(parts)), *parts)

    @classmethod
    def cycle_passes(cls, config: ModelConfig) -> int:
        return config.L_cycles + 1


def _add(parts: list[Array]) -> Array:
    return functools.reduce(jnp.add, parts)
