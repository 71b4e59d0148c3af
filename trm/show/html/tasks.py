"""Live pages of ARC: a person chooses a task, and the network answers its test input. Entry: `make_task_page`.

The page is that of the player with `tasks.html` above the boards. It asks a server (`trm.show.server`).
"""

from collections.abc import Sequence
from typing import Any

from trm.show.html.live import MOST_ATTEMPTS, MOST_STEPS, START
from trm.show.html.page import make_page, read
from trm.solving.trained_model import TrainedModel

ATTEMPTS = 4
"""Default for the maximum number of augmentations."""


def make_task_page(title: str, model: TrainedModel, tasks: Sequence[dict[str, Any]]) -> str:
    """Return a page that lists tasks, each as `trm.show.jobs.Tasks.describe` does."""
    metadata = model.metadata
    data = {
        "picture": model.kind.picture(metadata.seq_len, metadata.vocab_size)._asdict(),
        "kind": model.kind.name,
        "cells": metadata.seq_len,
        "cycles": max(1, model.config.model.H_cycles),
        "tasks": list(tasks),
        "steps": min(model.config.halting.halt_max_steps, MOST_STEPS),
        "attempts": ATTEMPTS,
        "most_steps": MOST_STEPS,
        "most_attempts": MOST_ATTEMPTS,
        "network": None,
    }
    return make_page(
        title,
        "The network runs on the machine that serves this page. It identifies each task by its name.",
        data,
        read("player.js", "live.js", "tasks.js") + START.format(asker="makeTasks"),
        read("player.css", "live.css"),
        read("tasks.html"),
        "; connect-src 'self'",
    )
