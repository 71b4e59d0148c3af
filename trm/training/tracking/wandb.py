"""Metrics to Weights & Biases (extra `wandb`).

Entry: `WandbTracker`.
"""

import dataclasses
import json
import os
import secrets
from pathlib import Path
from typing import Any

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.training.tracking.tracker import Position, Seen, position_of

PROJECT = "trm"
STATE_FILE = "wandb.json"
STATE_BYTES = 80


class WandbTracker:
    """Logs a run to a project of Weights & Biases; without a network with WANDB_MODE=offline.

    A resumed run is the same run there. Lines that it repeats have the same numbers and are not logged again.
    """

    def __init__(self, run: Path, config: Config, project: str | None = None):
        """Take the run folder and the project (default: WANDB_PROJECT). Raise InputError if the package is missing."""
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError("--wandb: the package wandb is missing, expected `pip install 'trm[wandb]'`") from error
        self._wandb, self._run, self._state = wandb, None, -1
        self._path = run / STATE_FILE
        self._id, self._seen = "", Seen()
        project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._options = {"project": project, "name": run.name, "dir": str(run), "config": dataclasses.asdict(config)}

    def log(self, metrics: dict[str, Any], /) -> None:
        if self._run is None:
            # Not earlier: with several processes only process 0 gets metrics, and only it may start a run there.
            self._run = self._begin(position_of(metrics))
        if not self._seen.is_again(metrics):
            self._run.log(metrics, step=metrics["step"])
            self._seen.add(metrics)
            state = json.dumps({"id": self._id, "last": self._seen.position})
            os.pwrite(self._state, f"{state:<{STATE_BYTES}}\n".encode(), 0)

    def _begin(self, position: Position) -> Any:
        """Start a run there, or go on with the one that the run folder names."""
        try:
            state = json.loads(self._path.read_text())
            step, place = state["last"]
            self._id, self._seen = str(state["id"]), Seen((int(step), int(place)))
        except (OSError, ValueError, KeyError, TypeError):
            # The file is missing, or a full disk left it incomplete: a new run loses nothing.
            self._id = ""
        if not self._id or position <= (1, 0):
            self._id, self._seen = secrets.token_hex(4), Seen()
        self._state = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        return self._wandb.init(**self._options, id=self._id, resume="allow")

    def close(self) -> None:
        if self._run:
            self._run.finish()
            os.close(self._state)
