"""Search for the recipe with the best accuracy per core-second.

Entry: `python scripts/search_recipe.py OUT --data DIR --recipe 'NAME CONFIG KEY=VALUE ...'`.

Each recipe is a configuration with settings; each seed of it is a run, in turns, so that a stopped search has as many
runs of one recipe as of another. An interrupted run is resumed; a run that `--json` already holds is not trained again.
Accuracy is that of puzzles held back from training (`data.validation`), if there are any; the test set is then read
once, at the end. Seconds are those of the processor, of all cores together, so that other work on the machine changes
them little; evaluations are not counted. `python scripts/curves.py` draws the records.
"""

import dataclasses
import json
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from records import Recorder, hardware, read_records
from rich.console import Console
from starting import start

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.training.experiment import config as read_experiment
from trm.training.run import train

console = Console(soft_wrap=True, highlight=False)


class Recipe(NamedTuple):
    """A configuration and settings, with a name."""

    name: str
    config: str
    settings: list[str]


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the runs.")],
    data: Annotated[Path, typer.Option(help="Puzzle set to train on.")],
    recipes: Annotated[
        list[str],
        typer.Option("--recipe", metavar="'NAME CONFIG KEY=VALUE ...'", help="Recipe to try. May be repeated."),
    ],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting of all recipes.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each recipe.", min=1)] = 1,
    first_seed: Annotated[int, typer.Option(help="Seed of the first.", min=0)] = 0,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Append the result of each run, as a line of JSON.")
    ] = None,
) -> None:
    """Train every recipe with every seed, and print the accuracy of each evaluation with the core-seconds so far."""
    parsed = [parse_recipe(text) for text in recipes]
    if len({recipe.name for recipe in parsed}) < len(parsed):
        raise InputError("--recipe: found a name twice, expected different ones")
    shared = [*(settings or []), f"data.path={json.dumps(str(data))}"]
    mesh = make_mesh(1)
    recorder = Recorder("search", json_out, hardware(mesh))
    configs = {recipe.name: read_experiment(recipe.config, [*shared, *recipe.settings]) for recipe in parsed}
    failed: list[str] = []
    for seed in range(first_seed, first_seed + seeds):
        for recipe in parsed:
            if json_out and has_record(json_out, recipe, shared, seed, data.name):
                console.print(f"{recipe.name}, seed {seed}: recorded before")
                continue
            try:
                figures = run(configs[recipe.name], seed, out / f"{recipe.name}-{seed}")
            except FloatingPointError as error:
                console.print(f"{recipe.name}, seed {seed}: {error}")
                failed.append(f"{recipe.name}-{seed}")
                continue
            recorder.add(
                figures,
                config=recipe.config,
                settings=[*shared[:-1], *recipe.settings],
                seed=seed,
                recipe=recipe.name,
                data=data.name,
            )
    if failed:
        console.print(f"not finished: {', '.join(failed)}")
        sys.exit(1)


def parse_recipe(text: str) -> Recipe:
    """Read `NAME CONFIG KEY=VALUE ...`; values with spaces are quoted as in a shell."""
    words = shlex.split(text)
    name, config, *settings = words if len(words) > 1 else ["", ""]
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise InputError(f"--recipe: found {text!r}, expected 'NAME CONFIG KEY=VALUE ...'")
    return Recipe(name, config, settings)


def has_record(path: Path, recipe: Recipe, shared: Sequence[str], seed: int, data: str) -> bool:
    """Tell whether a file of records holds this run."""
    wanted = (recipe.config, [*shared[:-1], *recipe.settings], seed, {"recipe": recipe.name, "data": data})
    return any(wanted == (r.config, r.settings, r.seed, r.case) for r in read_records(path) if r.benchmark == "search")


def run(config: Config, seed: int, folder: Path) -> dict[str, Any]:
    """Train a run, or the rest of it, and return its figures."""
    clock = Clock(folder / "core_seconds.jsonl")
    seeded = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    folder.mkdir(parents=True, exist_ok=True)
    outcome = train(seeded, folder, make_mesh(1), resume=True, hooks=[clock], console=Console(quiet=True))
    if outcome.signal:
        console.print(f"{folder}: stopped: {outcome.stopped}")
        sys.exit(128 + outcome.signal)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return figures_of(lines, clock.seconds, seeded)


class Clock:
    """A hook of a run: writes the core-seconds that training took up to each step, also over several starts."""

    def __init__(self, path: Path):
        self._path, self._last = path, time.process_time()
        self.seconds: dict[int, float] = {}
        """By step; the first holds the compilation too."""
        if path.exists():
            lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
            self.seconds = {line["step"]: line["core_seconds"] for line in lines}

    def __call__(self, metrics: Mapping[str, Any]) -> None:
        now = time.process_time()
        passed, self._last = now - self._last, now
        step = metrics["step"]
        scores = {name: value for name, value in metrics.items() if name.endswith("all/exact_accuracy")}
        if "train/lm_loss" in metrics:
            before = max((s for s in self.seconds if s < step), default=None)
            self.seconds[step] = passed + (0.0 if before is None else self.seconds[before])
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "core_seconds": round(self.seconds[step], 3)}) + "\n")
        else:
            for name, value in scores.items():
                console.print(f"{self._path.parent.name}: step {step}, {self.at(step):.0f} core-s: {name} {value:.3f}")

    def at(self, step: int) -> float:
        """Return the core-seconds up to a step."""
        return max((seconds for s, seconds in self.seconds.items() if s <= step), default=math.nan)


def figures_of(lines: Sequence[Mapping[str, Any]], seconds: Mapping[int, float], config: Config) -> dict[str, Any]:
    """Return the curve of a run, (step, core-seconds, exact accuracy) for each evaluation, its end and its best."""
    key = "validation/all/exact_accuracy" if config.data.validation else "all/exact_accuracy"
    curve = [(line["step"], round(seconds[line["step"]], 1), line[key]) for line in lines if key in line]
    steps = sorted(seconds)
    figures = {
        "curve": curve,
        "steps": steps[-1],
        "core_seconds": round(seconds[steps[-1]], 1),
        "core_seconds_of_the_first_step": round(seconds[steps[0]], 1),
        "core_seconds_per_step": round((seconds[steps[-1]] - seconds[steps[0]]) / max(1, steps[-1] - steps[0]), 4),
        "exact_accuracy": curve[-1][2] if curve else math.nan,
        "best_exact_accuracy": max((score for *_, score in curve), default=math.nan),
    }
    if config.data.validation:
        figures["puzzles"] = config.data.validation
    test = [line["test/all/exact_accuracy"] for line in lines if "test/all/exact_accuracy" in line]
    return figures | ({"test_exact_accuracy": test[-1]} if test else {})


if __name__ == "__main__":
    start(main)
