"""Values of configuration files, converted to the types of the schema. Entry: `check_tables`.

A value of another type is converted where its meaning is clear: 1e5 to the integer 100000, 1 to 1.0, a list to a tuple.
"""

import difflib
import math
import os
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from trm.configuration.ranges import show
from trm.configuration.schema import Config, Stage
from trm.errors import InputError

SECTIONS: dict[str, type] = get_type_hints(Config)
"""The class of each section."""


def check_tables(tables: Any) -> dict[str, dict[str, Any]]:
    """Convert the values of tables to the types of the schema; raise InputError for one that does not fit."""
    if not isinstance(tables, Mapping):
        raise InputError(f"configuration: found {show(tables)}, expected tables of sections")
    checked: dict[str, dict[str, Any]] = {}
    for section, table in tables.items():
        _check_known(section, SECTIONS, "section")
        if not isinstance(table, Mapping):
            raise InputError(f"{section}: found {show(table)}, expected a table [{section}]")
        hints = get_type_hints(SECTIONS[section])
        checked[section] = {}
        for key, value in table.items():
            _check_known(key, hints, "key", section)
            try:
                checked[section][key] = _convert(value, hints[key])
            except _MisfitError as error:
                expected = error.args[0] if error.args else _describe(hints[key])
                raise InputError(f"{section}.{key}: found {show(value)}, expected {expected}") from error
    return checked


class _MisfitError(Exception):
    """A value is not of a type; the argument, if any, says what was expected."""


def _convert(value: Any, hint: Any) -> Any:
    """Convert a value to a type. Lists become tuples, which can be compared and hashed."""
    origin, members = get_origin(hint), get_args(hint)
    if origin is Literal:
        if isinstance(value, str) and value in members:
            return value
    elif origin in (Union, UnionType):
        for member in members:
            try:
                return _convert(value, member)
            except _MisfitError as error:
                if error.args:
                    raise
    elif origin is tuple:
        if isinstance(value, list | tuple) and members[-1] is Ellipsis:
            return tuple(_convert(item, members[0]) for item in value)
        if isinstance(value, list | tuple) and len(value) == len(members):
            return tuple(map(_convert, value, members))
    elif hint is NoneType:
        if value is None:
            return value
    elif hint is float:
        # 1 is an integer in TOML and may mean a rate of 1.0.
        if type(value) in (int, float):
            return _finite(value)
    elif hint is int:
        # 1e5 is a float in TOML and means 100000 epochs.
        if type(value) is int or (type(value) is float and value.is_integer()):
            return int(value)
    elif hint is str:
        if isinstance(value, str | os.PathLike):
            return _unicode(os.fspath(value))
    elif type(value) is hint:
        return value
    raise _MisfitError


def _finite(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _MisfitError("a finite number")
    return number


def _unicode(text: Any) -> str:
    """Return the text if a file can hold it. A command line's bytes that are not Unicode arrive as lone surrogates."""
    if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
        raise _MisfitError("text in Unicode")
    return text


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", int | None: "an integer"}
    names[str | tuple[str, ...]] = "a string or a list of strings"
    names[tuple[Stage, ...]] = "a list of stages [until, H_cycles, L_cycles]"
    return names.get(hint, str(hint))


def _check_known(name: Any, names: Mapping[str, Any], what: str, section: str | None = None) -> None:
    if isinstance(name, str) and name in names:
        return
    text = name if isinstance(name, str) and name.isidentifier() and len(name) <= 80 else show(name)
    where = f"{section}.{text}" if section else text
    close = difflib.get_close_matches(name[:80], names, n=1, cutoff=0.6) if isinstance(name, str) else []
    elsewhere = [s for s in SECTIONS if name in get_type_hints(SECTIONS[s])]
    if close:
        hint = f"did you mean {close[0]!r}?"
    elif elsewhere:
        hint = f"did you mean {elsewhere[0]}.{name}?"
    else:
        hint = f"expected one of {', '.join(names)}"
    raise InputError(f"{where}: unknown {what}, {hint}")
