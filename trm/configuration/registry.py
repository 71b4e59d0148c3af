"""Registry: recursions, optimisers or puzzle kinds by name, open to users' own. Entry: `Registry`.

A recursion and an optimiser are registered in the file that defines them, a puzzle kind in `puzzles/kinds/registry.py`.
A configuration names them, or names a user's own as `package.module:Attribute`.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from trm.errors import InputError

T = TypeVar("T")
Thing = TypeVar("Thing")


class Registry(Generic[T]):
    """Entries of one kind by name; `registry["package.module:Attribute"]` imports one that is not registered."""

    what: str
    """Beginning of messages: the key or option that takes a name, such as "model.recursion"."""
    base: type | None
    """Class that every entry is an instance or a subclass of; None: not checked."""

    def __init__(self, what: str, base: type | None = None):
        self.what = what
        self.base = base
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Thing], Thing]:
        """Return a decorator that registers a class under a name."""

        def decorate(thing: Any) -> Any:
            self.add(name, thing)
            return thing

        return decorate

    def add(self, name: str, thing: T) -> None:
        """Register an entry under a name; raise ValueError when the name is taken or contains a colon."""
        if ":" in name:
            raise ValueError(f"{self.what}: found a colon in the name {name!r}, expected none")
        # A notebook cell that runs again defines the same class again.
        if name in self._things and _origin(self._things[name]) != _origin(thing):
            raise ValueError(f"{self.what}: found {name!r} registered twice, first for {self._things[name]!r}")
        self._require_base(name, thing)
        self._things[name] = thing

    def __getitem__(self, name: str) -> T:
        """Return the entry of a name, or import `package.module:Attribute`; raise InputError for an unknown name.

        An import runs the module. The current folder is searched first, as by `python -m`.
        """
        if name in self._things:
            return self._things[name]
        if ":" in name:
            return self._import(name)
        close = difflib.get_close_matches(name, self._things, n=1)
        names = ", ".join(map(repr, self.names()))
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {names} or package.module:Name"
        raise InputError(f"{self.what}: found {_short(name)}, {hint}")

    def __contains__(self, name: str) -> bool:
        """Tell whether a name is registered."""
        return name in self._things

    def names(self) -> tuple[str, ...]:
        """Return the registered names in the order of registration."""
        return tuple(self._things)

    def _import(self, name: str) -> T:
        module_name, _, attribute = name.partition(":")
        if not (attribute.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
            raise InputError(f"{self.what}: found {_short(name)}, expected package.module:Name")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise InputError(f"{self.what}: found {name!r}, cannot import {module_name}: {error}") from error
        if not hasattr(module, attribute):
            raise InputError(
                f"{self.what}: found {name!r}, but no {attribute} in {getattr(module, '__file__', module_name)}"
            )
        thing = getattr(module, attribute)
        self._require_base(name, thing)
        return thing

    def _require_base(self, name: str, thing: Any) -> None:
        if self.base is None or isinstance(thing, self.base):
            return
        if not (isinstance(thing, type) and issubclass(thing, self.base)):
            shown = repr(thing)[:80]
            raise InputError(f"{self.what}: found {name!r}, which is {shown}, expected a {self.base.__name__}")


def _short(name: str) -> str:
    return repr(name[:80])


def _origin(thing: Any) -> Any:
    """Return what two definitions of the same entry have in common."""
    return getattr(thing, "__qualname__", type(thing).__qualname__)
