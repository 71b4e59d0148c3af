"""JSON schema of configuration files, for editors that complete and check them. Entry: `json_schema`.

It is generated from the dataclasses: types and ranges from the annotations, descriptions from the docstrings below the
keys. `configs/schema.json` is its output; each bundled file names it in its first line (`#:schema ./schema.json`).
"""

import ast
import dataclasses
import inspect
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from trm.configuration.ranges import Range
from trm.configuration.schema import Config

OWN_CLASS = r"^[\w.]+:\w+$"
"""Pattern of a name of the user's own code, `package.module:Name`."""


def json_schema(registered: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the JSON schema of a configuration file.

    `registered` gives, by `section.key`, the registered names that the key takes.
    """
    sections = {name: _section(name, kind, registered) for name, kind in get_type_hints(Config).items()}
    base = {
        "type": "string",
        "description": "Bundled configuration by name, or a file by its path relative to this one. Its values apply to "
        "the keys that this file does not set.",
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of trm",
        "type": "object",
        "additionalProperties": False,
        "properties": {"base": base, **sections},
    }


def schema_text(registered: Mapping[str, Sequence[str]]) -> str:
    """Return the JSON schema as the text of a file."""
    return json.dumps(json_schema(registered), indent=2, ensure_ascii=False) + "\n"


def key_docstrings(section: type) -> dict[str, str]:
    """Return the docstring below each key of a section, on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[statement.target.id] = " ".join(below.value.value.split())
    return found


def _section(name: str, kind: Any, registered: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    texts = key_docstrings(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        names = registered.get(f"{name}.{field.name}")
        accepted = _type(hints[field.name]) if names is None else _registered(names)
        # TOML has no null: a key that is unset by default has no default in the schema.
        default = {} if field.default is None else {"default": _plain(field.default)}
        properties[field.name] = {**accepted, **default, "description": texts[field.name]}
    summary = " ".join((kind.__doc__ or "").split())
    return {"type": "object", "description": summary, "additionalProperties": False, "properties": properties}


def _registered(names: Sequence[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": sorted(names)}, {"type": "string", "pattern": OWN_CLASS}]}


def _type(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of an annotation."""
    origin, members = get_origin(hint), get_args(hint)
    if origin is Annotated:
        (allowed,) = hint.__metadata__
        return _type(members[0]) | _bounds(allowed)
    if origin is Literal:
        return {"enum": list(members)}
    if origin is tuple and members[-1] is Ellipsis:
        return {"type": "array", "items": _type(members[0])}
    if origin is tuple:
        return {"type": "array", "items": list(map(_type, members)), "minItems": len(members), "maxItems": len(members)}
    if members:
        kinds = [_type(member) for member in members if member is not NoneType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {"type": {int: "integer", float: "number", bool: "boolean", str: "string"}[hint]}


def _bounds(allowed: Range) -> dict[str, Any]:
    bounds = {"minimum" if allowed.brackets[0] == "[" else "exclusiveMinimum": allowed.low}
    if allowed.high != math.inf:
        bounds["maximum" if allowed.brackets[1] == "]" else "exclusiveMaximum"] = allowed.high
    return bounds


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value
