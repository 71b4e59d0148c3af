"""Check types with beartype, once for each function: pytest's option `--jaxtyping-packages` names `check`.

A function in a function is made anew in every call, and jaxtyping then asks for a new check of the same signature.
Beartype compiles one in a millisecond; for a parser of lines this was most of a test's time.
"""

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype

_checks: dict[tuple[str, str, inspect.Signature], Callable] = {}


def check(checked: Any) -> Any:
    """Return beartype's check of a class or function.

    jaxtyping passes functions without a body, which are the same if name and signature are.
    """
    if inspect.isclass(checked) or "<locals>" not in checked.__qualname__:
        return beartype(checked)
    key = (checked.__module__, checked.__qualname__, inspect.signature(checked))
    try:
        return _checks[key]
    except KeyError:
        return _checks.setdefault(key, beartype(checked))
    except TypeError:
        # A default that has no hash.
        return beartype(checked)
