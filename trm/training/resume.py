"""The start of a run: fresh, from weights, or from the newest checkpoint, and the keys that may differ then.

Entry: `begin`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax
from jax.sharding import Mesh

from trm.checkpoints.description import Description
from trm.configuration.neutral import NEUTRAL
from trm.configuration.reading import config_to_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import fetch
from trm.parallel.processes import decide_on_first
from trm.puzzles.identity import difference
from trm.puzzles.metadata import Metadata
from trm.training.best import Best
from trm.training.checkpoints import Loaded, load_newest, newest_checkpoint
from trm.training.sets import TEST
from trm.training.start_from import WarmStart, start_from
from trm.training.state import TrainState, abstract_state, make_state, state_shardings, total_steps

MAY_CHANGE_ON_RESUME = {
    "data": {"path", "test_path"},
    "train": {
        "epochs",
        "eval_interval",
        "min_eval_interval",
        "checkpoint_interval_steps",
        "checkpoint_interval_minutes",
        "keep_checkpoints",
        "patience",
    },
}
"""Keys for the place of the data, the length of training and the files to keep. Only `epochs` changes the computation
of a step, and only where the learning rate or a curriculum depends on the share of steps that are done."""


class Begin(NamedTuple):
    """The state that a run begins with."""

    state: TrainState
    step: int
    rows_used: int
    """Rows of the queue that earlier steps used."""
    best: Best
    evaluation_due: bool
    """Whether the evaluation after `step` is still to be made."""
    skipped: tuple[int, ...]
    """Steps that train nothing."""
    notes: list[str]
    """Lines to print."""


def begin(
    config: Config,
    run: Path,
    mesh: Mesh,
    metadata: Metadata,
    identity: Mapping[str, str],
    resume: bool,
    init: WarmStart | None,
) -> Begin:
    """Return the state of the newest checkpoint in the run folder, if there is one; else a fresh one.

    Raises InputError for a folder that holds a run without `resume`, and for a run of another experiment.
    """
    if resume and (loaded := load_newest(run)):
        return _go_on(loaded, config, mesh, metadata, identity)
    decide_on_first(lambda: _check_new(run))
    state, notes = make_state(config, metadata, mesh), []
    if init:
        state = start_from(state, init, config, identity, metadata, notes.append)
        notes.append(f"starting from {init.path}")
    return Begin(state, 0, 0, Best(), False, (), notes)


def _check_new(run: Path) -> None:
    """Raise InputError for a folder with a run, also with a finished one whose checkpoints were removed."""
    if newest := newest_checkpoint(run):
        raise InputError(f"{run}: already holds {newest.name}, expected a new run folder, or --resume to go on with it")
    if (run / "weights.safetensors").exists():
        raise InputError(
            f"{run}: found weights.safetensors of a finished run and no checkpoint to resume from, expected a new run "
            "folder (--init starts from these weights)"
        )


def _go_on(loaded: Loaded, config: Config, mesh: Mesh, metadata: Metadata, identity: Mapping[str, str]) -> Begin:
    path, state, description = loaded.path, loaded.state, loaded.description
    notes = [*loaded.damaged, f"resuming from {path}"]
    try:
        neutral = check_same_experiment(path, description.config, config)
    except InputError as error:
        run = path.parent.parent
        raise InputError(
            f"{error}; `trm train {run} --resume` goes on with the run's own configuration, which is "
            "read from the checkpoint where config.toml is missing"
        ) from error
    if neutral:
        notes.append(f"{', '.join(neutral)}: changed; the numbers are the same within rounding, not bit for bit")
    if metadata != description.metadata:
        raise InputError(f"{config.data.path}: found another puzzle set than the one that {path} was trained on")
    if description.step > (steps := total_steps(config, metadata)):
        raise InputError(
            f"train.epochs: found {config.train.epochs}, which make {steps} steps, expected at least the "
            f"{description.step} of {path}"
        )
    notes += check_same_puzzles(path, description, identity, str(config.data.path))
    # Neutral settings are part of a model's structure; its arrays are the same.
    state = jax.tree.unflatten(jax.tree.structure(abstract_state(config, metadata)), jax.tree.leaves(state))
    placed = jax.tree.map(
        # Every process has the whole state and gives each of its devices its part.
        lambda leaf, sharding: jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index]),
        state,
        state_shardings(state, mesh),
    )
    rows_used = 0 if placed.rows_taken is None else int(fetch(placed.rows_taken))
    best = Best.from_dict(description.best)
    if best.step and description.step < steps and _differing("test", identity, description.identity):
        notes.append(
            f"warning: data.test_path: found another test set than before; the best weights until step {best.step}, "
            "chosen on the old one, no longer count"
        )
        best = Best()
    return Begin(placed, description.step, rows_used, best, description.evaluation_due, description.skipped, notes)


def check_same_experiment(path: Path, then: Config, now: Config) -> list[str]:
    """Raise InputError when a run cannot go on with a configuration; return the neutral keys that differ."""
    neutral = []
    old, new = config_to_tables(then), config_to_tables(now)
    for section in dataclasses.fields(Config):
        keys = old.get(section.name, {}), new.get(section.name, {})
        for key in keys[0].keys() | keys[1].keys():
            expected, found = (table.get(key) for table in keys)
            if found == expected or key in MAY_CHANGE_ON_RESUME.get(section.name, ()):
                continue
            if key not in NEUTRAL.get(section.name, ()):
                raise InputError(f"{section.name}.{key}: found {found!r}, expected {expected!r}, as in {path}")
            neutral.append(f"{section.name}.{key}")
    return sorted(neutral)


def _differing(split: Literal["train", "test"], found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """Describe which fingerprints of a split differ; None where all that both have are equal."""
    found = {part: digest for part, digest in found.items() if part.startswith(TEST) == (split == "test")}
    return difference(found, expected)


def check_same_puzzles(path: Path, description: Description, identity: Mapping[str, str], data: str) -> list[str]:
    """Raise InputError when the run has another training set; return a line when this cannot be checked."""
    if not description.identity:
        return [f"{path}: has no fingerprints of its puzzle set (an earlier format): {data} is not compared with it"]
    if differs := _differing("train", identity, description.identity):
        raise InputError(f"{data}: found {differs}, expected the puzzle set that {path} was trained on")
    return []
