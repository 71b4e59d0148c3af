"""Sweeps: one configuration with several seeds, and perhaps several values of some keys, one run after another.

    OUT/lr=0.001-seed-0/   a run folder for each seed of each experiment
    OUT/sweep.json         scores of the runs; for each experiment mean and interval

Entry: `plan_sweep` for the runs, `run_sweep` to train the unfinished ones, `summarise` for the scores.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trm.checkpoints.describe import describe
from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.training.best import as_score
from trm.training.experiment import config as read_experiment
from trm.training.resume import check_same_experiment
from trm.training.run import Outcome
from trm.training.seeds import mean_interval
from trm.training.tracking.history import Curve, History, read_history

SUMMARY = "sweep.json"


class Trial(NamedTuple):
    """One run of a sweep."""

    folder: Path
    settings: dict[str, str]
    """Values of the grid, by key."""
    config: Config

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end, with as many epochs as its configuration has now."""
        weights = self.folder / "weights.safetensors"
        return weights.is_file() and describe(weights)[0].config.train.epochs == self.config.train.epochs


def plan_sweep(
    config: str | Path, out: Path, seeds: int, settings: Sequence[str] = (), grid: Mapping[str, Sequence[str]] = {}
) -> list[Trial]:
    """Return the runs of a sweep; seeds count up from that of the configuration.

    Raises InputError where a configuration cannot be trained, or a run folder holds another experiment.
    """
    trials = []
    short = {key: key.rpartition(".")[2] for key in grid}
    for values in itertools.product(*grid.values()):
        of_grid = dict(zip(grid, values, strict=True))
        chosen = [*settings, *(f"{key}={value}" for key, value in of_grid.items())]
        first = read_experiment(config, chosen).train.seed
        for seed in range(first, first + seeds):
            names = [f"{short[key]}={value}" for key, value in of_grid.items()] + [f"seed-{seed}"]
            folder = out / re.sub(r"[^\w.=+-]", "_", "-".join(names))
            trials.append(Trial(folder, of_grid, read_experiment(config, [*chosen, f"train.seed={seed}"])))
    folders = [trial.folder for trial in trials]
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(f"--grid: found two runs with the folder {folder.name!r}, expected values that differ")
    for trial in trials:
        path = trial.folder / "config.toml"
        if path.is_file():
            check_same_experiment(path, read_config(path), trial.config)
    return trials


def parse_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return values by key of texts such as `optimizer.lr=1e-3,1e-4`; commas in brackets and quotes do not separate."""
    grid: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        parts = re.findall(r"(?:\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\"[^\"]*\"|[^,])+", values)
        if not equals or not parts or key in grid:
            expected = "each key once" if key in grid else "SECTION.KEY=VALUE,VALUE"
            raise InputError(f"--grid: found {text!r}, expected {expected}")
        grid[key.strip()] = [part.strip() for part in parts]
    return grid


def run_sweep(
    trials: Sequence[Trial], train: Callable[[Trial], Outcome], say: Callable[[str], None]
) -> tuple[Outcome | None, list[str]]:
    """Train the unfinished runs, in order; an interrupted one is resumed.

    Return the outcome of the last run if a signal stopped it, and a line for each run whose numbers were not finite;
    other runs are trained all the same.
    """
    failed = []
    for i, trial in enumerate(trials, start=1):
        what = f"run {i} of {len(trials)}, {trial.folder.name}"
        if trial.is_finished:
            say(f"{what}: finished before")
            continue
        say(what)
        try:
            outcome = train(trial)
        except FloatingPointError as error:
            failed.append(f"{trial.folder}: {error}")
            say(f"warning: {failed[-1]}")
            continue
        if outcome.signal:
            return outcome, failed
    return None, failed


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the scores of all runs that are finished, as values for JSON."""
    experiments: list[dict[str, Any]] = []
    for settings, group in itertools.groupby(trials, key=lambda trial: trial.settings):
        group = list(group)
        runs = [_scores(trial) for trial in group if trial.is_finished]
        names = [name for name in ("final", "best", "test") if runs and all(name in run for run in runs)]
        means = {name: _mean_of([run[name] for run in runs]) for name in names}
        experiments.append({"settings": settings, "planned": len(group), "runs": runs} | means)
    return {"metric": trials[0].config.train.best_metric, "interval": "95 %, Student's t", "experiments": experiments}


def _scores(trial: Trial) -> dict[str, Any]:
    """Return the metric of a run after its last step, at its best, and of the best weights on the test set."""
    metric, history = trial.config.train.best_metric, read_history(trial.folder)
    found: dict[str, Any] = {"folder": trial.folder.name, "seed": trial.config.train.seed}
    curves = history.evaluations(metric)
    if chosen := {name: curve for name, curve in curves.items() if not name.startswith("test/")}:
        mean = _mean_curve(chosen, history)
        at = int(np.argmax(as_score(metric, mean.values)))
        found |= {"final": float(mean.values[-1]), "best": float(mean.values[at]), "best_step": int(mean.steps[at])}
    on_test = {name: curve for name, curve in history.curves.items() if re.match(rf"test/.*/{metric}$", name)}
    return found | ({"test": float(_mean_curve(on_test, history).values[-1])} if on_test else {})


def _mean_curve(curves: Mapping[str, Curve], history: History) -> Curve:
    """Return the mean over all puzzles, as a run scores itself; that over sets for runs of earlier versions."""
    counts = [history.curves.get(f"{name.rpartition('/')[0]}/puzzles") for name in curves]
    weights = np.array([1.0 if count is None else count.values[-1] for count in counts])
    labelled, found = weights > 0, list(curves.values())
    values = np.stack([curve.values for curve in found])
    return Curve(found[0].steps, np.average(values[labelled], axis=0, weights=weights[labelled]))


def _mean_of(values: Sequence[float]) -> dict[str, Any]:
    mean, half = (float(number) for number in mean_interval(np.array(values)))
    return {"mean": mean, "interval": None if len(values) < 2 else [mean - half, mean + half]}
