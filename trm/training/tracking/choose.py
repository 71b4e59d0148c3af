"""The trackers that a command names: `tensorboard`, `wandb`, or the user's own class as `package.module:Class`.

Entry: `make_trackers`; `TRACKERS`, the registry.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from trm.configuration.registry import Registry
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.training.tracking.tensorboard import TensorboardTracker
from trm.training.tracking.tracker import Tracker
from trm.training.tracking.wandb import WandbTracker

TRACKERS: Registry[Callable[[Path, Config], Tracker]] = Registry("--track")
"""Functions that make a tracker from a run folder and its configuration, by name. A tracker is made in every process
and gets metrics in process 0 only: it should open files and connections at its first line."""
TRACKERS.add("tensorboard", TensorboardTracker)
TRACKERS.add("wandb", WandbTracker)


def make_trackers(names: Sequence[str], run: Path, config: Config, wandb_project: str | None = None) -> list[Tracker]:
    """Return the trackers of names, each possibly several with commas; raise InputError for unknown ones.

    `wandb_project` is a project of Weights & Biases; it adds this tracker if the names do not.
    """
    wanted = dict.fromkeys(part.strip() for text in names for part in text.split(","))
    if wandb_project is not None:
        wanted["wandb"] = None
    made = []
    for name in wanted:
        project = (wandb_project,) if name == "wandb" else ()
        tracker = TRACKERS[name](run, config, *project)
        if not isinstance(tracker, Tracker):
            raise InputError(f"--track: found {name!r}, expected an object with `log(metrics)` and `close()`")
        made.append(tracker)
    return made
