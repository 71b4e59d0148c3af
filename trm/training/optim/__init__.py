"""Optimisers, their schedule, and the moving average. Entry: `assemble.make_optimizer`, `base.OPTIMIZERS`.

A module of this folder is imported, and its optimisers register themselves, without a list of them anywhere. A function
in another place is `optimizer.type = "package.module:function"`.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
