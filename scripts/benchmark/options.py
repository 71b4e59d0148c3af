"""Options that several benchmarks share."""

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
]
Configs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG]...", help="Names of bundled configurations, or TOML files.", show_default="all"),
]
JsonOut = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Append each result to a file, as a line of JSON.")
]
GPU_HELP = (
    "Text proto that describes a GPU, as scripts/benchmark/h100.textproto does. The compiler works for that GPU. Needs "
    "pip install 'jax[cuda12]'; needs no GPU."
)
