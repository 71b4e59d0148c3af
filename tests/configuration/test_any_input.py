"""Any file and any option gives a configuration, or an error of one line that names the mistake."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trm.configuration.reading import config_from_tables, config_to_tables, config_to_toml, read_config
from trm.configuration.schema import Config
from trm.errors import InputError

KEYS = [
    f"{section}.{field.name}" for section, kind in get_type_hints(Config).items() for field in dataclasses.fields(kind)
]
HUGE = "9" * 400
NESTED = "[" * 3000 + "]" * 3000

texts = st.text(max_size=8) | st.sampled_from(["trm", "mlp", "muon", "a\nb", "a\0b", "\x7f", "\u2028", "é" * 200])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from([int(HUGE), -int(HUGE)])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)


def check(read: Any) -> Config | None:
    """Call a reader; require a configuration or an InputError of one line, and not a long one."""
    try:
        return read()
    except InputError as error:
        message = str(error)
    assert len(message) < 1200
    assert len(message.splitlines()) == 1
    return None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file that each example writes anew."""
    return tmp_path_factory.mktemp("any") / "any.toml"


@settings(deadline=None)  # Not a test of speed: other programs may run.
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=3))
def test_any_value_of_any_key(chosen: dict[str, Any]):
    tables: dict[str, dict[str, Any]] = {}
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        tables.setdefault(section, {})[key] = value
    config = check(lambda: config_from_tables(tables))
    assert check(lambda: config_from_tables({}, chosen)) == config
    if config is not None:
        written = config_to_toml(config)
        assert config_from_tables(tomllib.loads(written)) == config == config_from_tables(config_to_tables(config))
        # As in the header of a checkpoint.
        assert config_from_tables(json.loads(json.dumps(config_to_tables(config)))) == config


@settings(deadline=None)  # Not a test of speed: other programs may run.
@given(st.dictionaries(texts | st.sampled_from(["model", "base"]), values, max_size=3) | values)
def test_any_tables(tables: Any):
    check(lambda: config_from_tables(tables))


@settings(deadline=None)  # Not a test of speed: other programs may run.
@given(
    st.sampled_from(KEYS), texts | st.sampled_from([HUGE, "9" * 5000, f"0x{'f' * 5000}", NESTED, "[]", "[[]]", "{}"])
)
def test_any_setting(key: str, text: str):
    check(lambda: config_from_tables({}, [f"{key}={text}"]))
    check(lambda: config_from_tables({}, [text]))


@settings(deadline=None)  # Not a test of speed: other programs may run.
@given(
    st.text(max_size=60)
    | st.sampled_from([NESTED, f"base = {NESTED}", f"[model]\nhidden_size = {HUGE}", f"[train]\nepochs = {'9' * 5000}"])
)
def test_any_file(file: Path, text: str):
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(lambda: read_config(file))


def test_numbers_that_python_cannot_print():
    for key in KEYS:
        with pytest.raises(InputError, match=f"{key}: found an int too large to print"):
            config_from_tables({}, {key: 1 << 20000})


def test_settings_of_another_kind():
    for given_settings, message in (
        ("train.seed=1", "found the string 'train.seed=1', expected a list"),
        ({"train": 3}, "found 'train', expected section.key or a table"),
        ({"train": {3: 4}}, "train.3: unknown key"),
    ):
        with pytest.raises(InputError, match=message):
            config_from_tables({}, given_settings)


@pytest.mark.parametrize("key", KEYS)
def test_an_empty_list_is_a_value_of_lists_alone(key: str):
    """`all` of nothing is true: an empty list passed for every type."""
    section, _, name = key.partition(".")
    if key in ("data.test_path", "train.curriculum"):
        assert getattr(getattr(config_from_tables({}, [f"{key}=[]"]), section), name) == ()
        return
    with pytest.raises(InputError, match=rf"{key}: found \[\], expected "):
        config_from_tables({}, [f"{key}=[]"])
