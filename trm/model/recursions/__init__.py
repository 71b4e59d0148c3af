"""Recursions, one class per method, by the names that `model.recursion` takes. Entry: `RECURSIONS`, `check_model`.

Every module of this folder is imported and registers its classes; there is no list to edit. A class of another package
is named `model.recursion = "package.module:Class"`.
"""

import importlib
import pkgutil

from trm.model.recursions.base import (
    RECURSIONS,
    Hidden,
    Latent,
    Latents,
    MakeNetwork,
    OneNetwork,
    Passes,
    Recursion,
    TwoLatents,
    check_model,
    draw_initial,
    repeat,
    repeat_and_keep,
    unused_sizes,
    without_gradient,
)

__all__ = [
    "RECURSIONS",
    "Hidden",
    "Latent",
    "Latents",
    "MakeNetwork",
    "OneNetwork",
    "Passes",
    "Recursion",
    "TwoLatents",
    "check_model",
    "draw_initial",
    "repeat",
    "repeat_and_keep",
    "unused_sizes",
    "without_gradient",
]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
