"""The recursion: what enters is an embedded puzzle and the latents, what leaves are better latents.

One call is one supervision step. Of its H cycles only the last is differentiated (arXiv 2510.04871, section 4).
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from trm.model.layers import Network
from trm.model.precision import cast_once


class Latents(eqx.Module):
    """What the recursion refines: `z_H` is the paper's answer y, `z_L` its reasoning z.

    One vector per position of every sequence, or a single one to start them all from.
    """

    z_H: Float[Array, "*batch_and_position hidden"]
    z_L: Float[Array, "*batch_and_position hidden"]


class TRM(eqx.Module):
    """The Tiny Recursive Model: one network for both latents."""

    network: Network
    initial: Latents
    """The latents every puzzle starts from, the same at every position: constants, never trained."""
    H_cycles: int = eqx.field(static=True)
    L_cycles: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch position hidden"], z: Latents) -> Latents:
        """Refine the latents by `H_cycles` H cycles, of which only the last is differentiated."""
        network = cast_once(self.network, x.dtype)
        # Freeze what goes in, not what comes out: then nothing of these cycles is kept for the backward pass.
        frozen_network, frozen_x, z = jax.lax.stop_gradient((network, x, z))

        def h_cycle(z: Latents, _: None) -> tuple[Latents, None]:
            return self._h_cycle(frozen_network, frozen_x, z), None

        z, _ = jax.lax.scan(h_cycle, z, length=self.H_cycles - 1)
        return self._h_cycle(network, x, z)

    def _h_cycle(self, network: Network, x: Float[Array, "*batch position hidden"], z: Latents) -> Latents:
        """Refine the reasoning `L_cycles` times, then the answer once."""
        injected = z.z_H + x

        def l_cycle(z_L: Array, _: None) -> tuple[Array, None]:
            return network(z_L, injected), None

        z_L, _ = jax.lax.scan(l_cycle, z.z_L, length=self.L_cycles)
        return Latents(z_H=network(z.z_H, z_L), z_L=z_L)

    def answer(self, z: Latents) -> Float[Array, "*batch position hidden"]:
        """Return the latent that the heads read."""
        return z.z_H
