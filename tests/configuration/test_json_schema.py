"""The JSON schema: the shipped file is the generated one, and it accepts what trm accepts."""

import json
import tomllib
from typing import Any, get_type_hints

import jsonschema
import pytest
from conftest import run_trm

from trm.configuration.json_schema import key_docstrings, schema_text
from trm.configuration.reading import config_to_toml, read_config
from trm.configuration.schema import Config
from trm.storage.bundled import config_names, config_path
from trm.training.experiment import registered_names

SHIPPED = config_path("sudoku_mlp").parent / "schema.json"


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def test_the_shipped_schema_is_the_generated_one(capsys: pytest.CaptureFixture):
    text = SHIPPED.read_text(encoding="utf-8")
    assert text == schema_text(registered_names()), "run: trm config schema > configs/schema.json"
    assert run_trm(capsys, "config", "schema") == (0, text, "")
    jsonschema.Draft7Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", config_names())
def test_bundled_files_follow_the_schema(schema: Any, name: str):
    text = config_path(name).read_text(encoding="utf-8")
    assert text.startswith("#:schema ./schema.json\n")
    jsonschema.validate(tomllib.loads(text), schema)
    # What a run writes follows it too.
    jsonschema.validate(tomllib.loads(config_to_toml(read_config(config_path(name)))), schema)


@pytest.mark.parametrize(
    ("text", "follows"),
    [
        ('base = "a"\n[train]\nepochs = 1e3\ncurriculum = [[0.5, 1, 2]]', True),
        ('[data]\npath = ["a", "b"]\n[model]\nrecursion = "mine:Own"\npuzzle_emb_ndim = 0', True),
        ('[model]\nrecursion = "trm_singelz"', False),
        ("[model]\nhiden_size = 3", False),
        ("[modle]\n", False),
        ('[model]\nmixer = "conv"', False),
        ("[model]\nhidden_size = 0", False),
        ("[model]\nhidden_size = 2.5", False),
        ("[optimizer]\nbeta1 = 1.0", False),
        ("[optimizer]\nlr = -1", False),
        ("[loss]\nstep_decay = 0.0", False),
        ("[loss]\nstep_decay = 1.0", True),
        ("[train]\ncurriculum = [[0.5, 1]]", False),
        ("[train]\nseed = 4_294_967_296", False),
        ("[halting]\nact_enabled = 1", False),
    ],
)
def test_what_the_schema_accepts(schema: Any, text: str, follows: bool):
    assert jsonschema.Draft7Validator(schema).is_valid(tomllib.loads(text)) == follows


def test_every_key_is_documented():
    for kind in get_type_hints(Config).values():
        texts = key_docstrings(kind)
        assert list(texts) == list(get_type_hints(kind))
        assert all(text.endswith(".") and len(text) > 20 for text in texts.values())
