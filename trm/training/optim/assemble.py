"""The optimiser of a run, made from its configuration. Entry: `make_optimizer`."""

import optax

from trm.configuration.schema import OptimizerConfig
from trm.training.optim.base import OPTIMIZERS
from trm.training.optim.schedule import Schedule, warmup_cosine


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Make the optimiser of a `Reasoner`'s weights; with `freeze_weights` it changes nothing.

    Raises InputError for a type that names no optimiser.
    """
    if config.freeze_weights:
        return optax.set_to_zero()

    def schedule(base: float) -> Schedule:
        return warmup_cosine(base, config.lr_warmup_steps, total_steps, config.lr_min_ratio)

    optimizer = OPTIMIZERS[config.type](config, schedule)
    if not config.max_gradient_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optimizer)
