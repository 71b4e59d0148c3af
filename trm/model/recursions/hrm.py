"""The Hierarchical Reasoning Model (arXiv 2506.21734)."""

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from trm.configuration.schema import ModelConfig
from trm.model.blocks import Network
from trm.model.precision import cast_once
from trm.model.recursions.base import (
    RECURSIONS,
    Hidden,
    MakeNetwork,
    Passes,
    Recursion,
    TwoLatents,
    draw_initial,
    repeat,
    repeat_and_keep,
    without_gradient,
)


@RECURSIONS.register("hrm")
class HRM(Recursion[TwoLatents]):
    """A network for each latent; the last update of each latent is differentiated."""

    settings = ("H_layers", "L_layers", "H_cycles", "L_cycles")
    answer_latent = "z_H"
    reasoning_latents = ("z_L",)
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

    def every_cycle(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        networks = cast_once((self.H_network, self.L_network), x.dtype)
        return repeat_and_keep(lambda z: self._h_cycle(networks, x, z), z, self.H_cycles)

    @classmethod
    def passes(cls, config: ModelConfig) -> tuple[Passes, ...]:
        return (
            Passes(config.H_layers, config.H_cycles, 1),
            Passes(config.L_layers, config.H_cycles * config.L_cycles, 1),
        )

    def _h_cycle(self, networks: tuple[Network, Network], x: Hidden, z: TwoLatents) -> TwoLatents:
        return _h_update(networks, repeat(lambda z: _l_update(networks, x, z), z, self.L_cycles))


def _l_update(networks: tuple[Network, Network], x: Hidden, z: TwoLatents) -> TwoLatents:
    return TwoLatents(z_H=z.z_H, z_L=networks[1](z.z_L + (z.z_H + x)))


def _h_update(networks: tuple[Network, Network], z: TwoLatents) -> TwoLatents:
    return TwoLatents(z_H=networks[0](z.z_H + z.z_L), z_L=z.z_L)
