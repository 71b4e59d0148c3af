"""Options of commands that think: how long, how often, which answer is taken, and how it is written."""

from typing import Annotated, Literal

import typer

from trm.errors import InputError
from trm.puzzles.metadata import Metadata
from trm.solving.options import NoiseOn, SolverOptions
from trm.solving.selection import SelectionMethod
from trm.solving.views import Views, make_views

SLOTS = 256
"""Sequences that each device refines at a time, at most."""

Output = Literal["text", "plain", "json", "csv"]
"""How answers are written."""

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
]
Devices = Annotated[int | None, typer.Option(help="Use so many devices.", show_default="all", min=1)]
Steps = Annotated[int | None, typer.Option(help="Supervision steps at most.", show_default="as trained", min=1)]
ViewCount = Annotated[
    int | None,
    typer.Option(
        "--views",
        help="Look at a puzzle through so many symmetries.",
        show_default="1; of ARC in `trm solve` all augmentations",
        min=1,
    ),
]
Rollouts = Annotated[int, typer.Option(help="Think so many times about each view, with noise.", min=1)]
Noise = Annotated[float, typer.Option(help="Standard deviation of the noise on the latents.", min=0)]
NoisyLatents = Annotated[NoiseOn, typer.Option("--noise-on", help="Latents that get the noise.")]
Select = Annotated[
    SelectionMethod | None,
    typer.Option(
        "--select",
        help="Which of several answers is taken; first: and the others are given up.",
        show_default="confident",
    ),
]
ThinkingSeed = Annotated[int, typer.Option("--seed", help="Of noise and views.", min=0)]


def make_thinking(
    steps: int | None,
    adaptive: bool,
    views: int,
    rollouts: int,
    noise: float,
    noise_on: NoiseOn,
    selection: SelectionMethod | None,
    seed: int,
) -> SolverOptions:
    """Return what the options ask for; raise InputError where they contradict each other."""
    if noise_on != "z_H" and not noise:
        raise InputError(f"--noise-on: found {noise_on!r} with --noise 0, expected --noise beside it")
    return SolverOptions(
        max_steps=steps,
        adaptive=adaptive,
        noise=noise,
        noise_on=noise_on,
        rollouts=rollouts,
        stop_at_first=selection == "first" and adaptive and views * rollouts > 1,
        selection=selection or "confident",
        seed=seed,
    )


def views_of(metadata: Metadata, views: int, seed: int) -> Views | None:
    """Return symmetries, or None where a puzzle is looked at as it is; raise InputError for more than there are."""
    return make_views(metadata, views, seed) if views > 1 else None
