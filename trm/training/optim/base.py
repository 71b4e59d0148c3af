"""The registry of optimisers, by the names that `optimizer.type` takes. Entry: `OPTIMIZERS`."""

from collections.abc import Callable

import optax

from trm.configuration.registry import Registry
from trm.configuration.schema import OptimizerConfig
from trm.training.optim.schedule import Schedule

MakeSchedule = Callable[[float], Schedule]
"""Makes the schedule of a learning rate from its peak: all rates of a run rise and fall together."""
MakeOptimizer = Callable[[OptimizerConfig, MakeSchedule], optax.GradientTransformation]
"""Makes an optimiser of a tree of weights, some of whose leaves may be None. Its updates are added to the weights."""

OPTIMIZERS = Registry[MakeOptimizer]("optimizer.type")
"""Optimisers by the names that `optimizer.type` takes."""
