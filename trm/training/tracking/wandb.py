"""Metrics to Weights & Biases (extra `wandb`).

Entry: `WandbTracker`.
"""

import dataclasses
from typing import Any

from trm.configuration.schema import Config
from trm.errors import InputError


class WandbTracker:
    """Logs a run to a project of Weights & Biases."""

    def __init__(self, project: str, name: str, config: Config):
        """Raise InputError when the package is missing."""
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError("--wandb: the package wandb is missing, expected `pip install 'trm[wandb]'`") from error
        self._wandb, self._run = wandb, None
        self._options = {"project": project, "name": name, "config": dataclasses.asdict(config)}

    def log(self, metrics: dict[str, Any], /) -> None:
        # Not before: with several processes only the first gets metrics, and only it may start a run there.
        self._run = self._run or self._wandb.init(**self._options)
        self._run.log(metrics, step=metrics["step"])

    def close(self) -> None:
        if self._run:
            self._run.finish()
