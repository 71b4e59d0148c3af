"""Equilibrium Reasoners (arXiv 2605.21488): TRM with damped passes and, in training, noise after each pass."""

from dataclasses import field

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, UInt32

from trm.configuration.schema import ModelConfig
from trm.model.recursions.base import RECURSIONS, Hidden, Latent, MakeNetwork, OneNetwork, TwoLatents, repeat
from trm.model.recursions.trm import TRM


class PathNoise(eqx.Module):
    """Normal noise that is added to a latent after each pass."""

    keys: UInt32[Array, "batch 2"]
    """Key of each sequence's noise; one per sequence, so that the noise is the same on any number of devices."""
    std: float = eqx.field(static=True)


class _NoisyLatents(TwoLatents):
    """Latents between two passes, and the keys of the remaining noise."""

    keys: UInt32[Array, "batch 2"]


@RECURSIONS.register("equilibrium")
class Equilibrium(TRM):
    """TRM with damped passes: `z + (1 - damping) (network(z + ...) - z) + noise`.

    With `damping` 0 and without noise the numbers are those of TRM, bit for bit.
    """

    settings = (*OneNetwork.settings, "damping")
    damping: float = eqx.field(static=True)
    noise: PathNoise | None = field(default=None)
    """Noise of the next call; None, as in every stored model: no noise."""

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        OneNetwork.__init__(self, config, make_network, key=key)
        self.damping, self.noise = config.damping, None

    def with_noise(self, noise: PathNoise) -> "Equilibrium":
        """Return the recursion with noise for its next call; each call needs other keys."""
        return eqx.tree_at(lambda recursion: recursion.noise, self, noise, is_leaf=lambda leaf: leaf is None)

    def __call__(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        if self.noise is None:
            return super().__call__(x, z)
        z = super().__call__(x, _NoisyLatents(z.z_H, z.z_L, self.noise.keys))
        return TwoLatents(z_H=z.z_H, z_L=z.z_L)

    def h_cycle(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        injected = z.z_H + x
        z = repeat(lambda z: self._refine(z, "z_L", injected), z, self.L_cycles, self.unroll)
        return self._refine(z, "z_H", z.z_L)

    def _refine(self, z: TwoLatents, name: str, injected: Latent) -> TwoLatents:
        old = getattr(z, name)
        new = self.network(old + injected)
        if self.damping:
            new = old + (1 - self.damping) * (new - old)
        changed = {"z_H": z.z_H, "z_L": z.z_L, name: new}
        if not isinstance(z, _NoisyLatents):
            return TwoLatents(**changed)
        assert self.noise is not None
        keys, now = jax.vmap(jax.random.split, out_axes=1)(jax.random.wrap_key_data(z.keys))
        drawn = jax.vmap(lambda key: jax.random.normal(key, new.shape[1:]))(now)
        changed[name] = new + (self.noise.std * drawn).astype(new.dtype)
        return _NoisyLatents(**changed, keys=jax.random.key_data(keys))
