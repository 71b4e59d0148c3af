"""Optimisers, their schedule, and the moving average. Entry: `assemble.make_optimizer`, `base.OPTIMIZERS`.

Every module of this folder is imported and registers its optimisers; there is no list to edit. A function of another
package is named `optimizer.type = "package.module:function"`.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
