"""The curriculum of depths: how many cycles each training step makes. Entry: `cycles_at`."""

from trm.configuration.schema import Config


def cycles_at(config: Config, step: int, total_steps: int) -> tuple[int, int]:
    """Return H_cycles and L_cycles of a training step; steps count from 1."""
    for until, H_cycles, L_cycles in config.train.curriculum:
        if step <= until * total_steps:
            return H_cycles, L_cycles
    return config.model.H_cycles, config.model.L_cycles
