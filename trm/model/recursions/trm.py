"""The Tiny Recursive Model (arXiv 2510.04871)."""

from trm.configuration.schema import ModelConfig
from trm.model.recursions.base import RECURSIONS, Hidden, OneNetwork, TwoLatents, repeat


@RECURSIONS.register("trm")
class TRM(OneNetwork[TwoLatents]):
    """One network refines the reasoning `L_cycles` times, then the answer once."""

    latents = TwoLatents
    answer_latent = "z_H"
    reasoning_latents = ("z_L",)

    def h_cycle(self, x: Hidden, z: TwoLatents) -> TwoLatents:
        injected = z.z_H + x
        z_L = repeat(lambda z_L: self.network(z_L + injected), z.z_L, self.L_cycles, self.unroll)
        return TwoLatents(z_H=self.network(z.z_H + z_L), z_L=z_L)

    @classmethod
    def cycle_passes(cls, config: ModelConfig) -> int:
        return config.L_cycles + 1
