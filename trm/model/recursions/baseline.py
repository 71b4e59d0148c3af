"""The baseline without recursion: a plain transformer under the same supervision."""

import jax
from jaxtyping import PRNGKeyArray

from trm.configuration.schema import ModelConfig
from trm.model.blocks import Network
from trm.model.recursions.base import (
    RECURSIONS,
    Hidden,
    Latent,
    Latents,
    MakeNetwork,
    Passes,
    Recursion,
    draw_initial,
)


class AnswerLatent(Latents):
    """An answer latent only."""

    z_H: Latent


@RECURSIONS.register("transformers_baseline")
class TransformersBaseline(Recursion[AnswerLatent]):
    """One differentiated pass of one network per supervision step."""

    settings = ("H_layers",)
    answer_latent = "z_H"
    reasoning_latents = ()
    H_network: Network
    initial: AnswerLatent

    def __init__(self, config: ModelConfig, make_network: MakeNetwork, *, key: PRNGKeyArray):
        network_key, latents_key = jax.random.split(key)
        self.H_network = make_network(config.H_layers, key=network_key)
        self.initial = draw_initial(AnswerLatent, config, key=latents_key)

    def __call__(self, x: Hidden, z: AnswerLatent) -> AnswerLatent:
        return AnswerLatent(self.H_network(z.z_H + x))

    @classmethod
    def passes(cls, config: ModelConfig) -> tuple[Passes, ...]:
        return (Passes(config.H_layers, 1, 1),)
