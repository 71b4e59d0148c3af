"""Registries: names, a user's own by its module, and every mistake in one line."""

import sys
from pathlib import Path

import pytest

from trm.configuration.registry import Registry
from trm.errors import InputError


class Shape:
    """What the registry of these tests holds."""


def make_registry() -> Registry[type[Shape]]:
    registry: Registry[type[Shape]] = Registry("shape", base=Shape)

    @registry.register("round")
    class Round(Shape):
        pass

    registry.add("square", type("Square", (Shape,), {}))
    return registry


def test_registered_things_are_found_by_name():
    registry = make_registry()
    assert registry.names() == ("round", "square")
    assert registry["round"].__name__ == "Round"
    assert registry["square"].__name__ == "Square"
    assert "round" in registry
    assert "flat" not in registry


def test_a_class_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_shapes.py").write_text(f"from {__name__} import Shape\nclass Star(Shape): pass\nnumber = 3\n")
    (tmp_path / "own_broken.py").write_text("import there_is_no_such_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    registry = make_registry()
    star = registry["own_shapes:Star"]
    assert star.__name__ == "Star"
    assert issubclass(star, Shape)
    assert registry["own_shapes:Star"] is star
    for name, message in {
        "own_shapes:Moon": "but no Moon in .*own_shapes.py",
        "own_shapes:number": "which is 3, expected a Shape",
        "own_broken:Star": "cannot import own_broken: No module named 'there_is_no_such_module'",
        "own_nowhere:Star": "cannot import own_nowhere: No module named 'own_nowhere'",
        ":Star": "expected package.module:Name",
        "own_shapes:": "expected package.module:Name",
        "own-shapes:Star": "expected package.module:Name",
        "..own:Star": "expected package.module:Name",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            registry[name]
        assert "\n" not in str(caught.value)


def test_an_unknown_name_gets_a_hint():
    registry = make_registry()
    with pytest.raises(InputError, match="shape: found 'sqare', did you mean 'square'"):
        registry["sqare"]
    with pytest.raises(
        InputError, match=r"shape: found 'xyz', expected one of 'round', 'square' or package\.module:Name"
    ):
        registry["xyz"]


def test_a_name_belongs_to_one_thing():
    registry = make_registry()
    with pytest.raises(ValueError, match="'round' registered twice"):
        registry.add("round", type("Other", (Shape,), {}))
    with pytest.raises(ValueError, match="found a colon in the name"):
        registry.add("a:b", Shape)
    # The same class, defined again in a notebook.
    again = type("Square", (Shape,), {})
    registry.add("square", again)
    assert registry["square"] is again
