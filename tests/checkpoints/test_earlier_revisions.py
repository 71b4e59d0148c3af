"""Files of earlier revisions still load, and their runs can be resumed."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from trm.checkpoints import description as description_module
from trm.checkpoints.describe import describe
from trm.checkpoints.description import FORMAT, decode, encode
from trm.checkpoints.format import load_weights
from trm.checkpoints.tree import name_leaves
from trm.configuration.reading import read_config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.storage.safetensors import read_safetensors
from trm.training.run import train
from trm.training.state import load_state, trained_weights

OLD = Path(__file__).parent / "revision_d54c609"


def test_a_checkpoint_of_format_1():
    path = OLD / "checkpoints" / "step_15.safetensors"
    stored, text = read_safetensors(path)
    assert '"format": "trm 1"' in text["trm"]
    state, description = load_state(path)
    assert (description.step, description.kind) == (15, "checkpoint")
    assert description.best["step"] == 7
    leaves = jax.tree.leaves(state)
    assert len(leaves) == len(stored)
    np.testing.assert_array_equal(state.model.lm_head, stored["model.lm_head"])
    np.testing.assert_array_equal(name_leaves(state)["carry.latents.z_L"], stored["carry.latents.z_L"])


def test_weights_of_format_1_are_the_average_of_the_checkpoint():
    weights, description = load_weights(OLD / "weights.safetensors")
    assert description.averaged is True
    state, _ = load_state(OLD / "checkpoints" / "step_15.safetensors")
    jax.tree.map(np.testing.assert_array_equal, weights, jax.device_get(trained_weights(state)))
    assert description.identity == {}


def test_a_later_format_reads_a_description_with_a_checksum(monkeypatch: pytest.MonkeyPatch):
    _, description = load_weights(OLD / "weights.safetensors")
    text = encode(description, {})

    def migrate(values: dict) -> dict:
        assert values["format"] == "trm 3"
        return values | {"format": "trm 4", "chosen_on": "test"}

    monkeypatch.setattr(description_module, "FORMAT", "trm 4")
    monkeypatch.setattr(description_module, "READABLE", ("trm 3", "trm 4"))
    monkeypatch.setattr(description_module, "migrate", migrate)
    assert decode(text)[0].chosen_on == "test"


def test_a_description_of_format_2():
    """As the last revision before format "trm 3" wrote it (381ef13), with its checksum, and without skipped steps."""
    text = (OLD.parent / "description_of_format_2.json").read_text()
    values = json.loads(text)
    assert values["format"] == "trm 2"
    assert "skipped" not in values
    description, checksums = decode({"trm": text})
    assert (description.step, description.skipped) == (15, ())
    assert description.best == values["best"]
    assert checksums == values["arrays"]
    with pytest.raises(InputError, match="found a damaged description"):
        decode({"trm": text.replace('"step": 15', '"step": 16')})


@pytest.mark.slow
def test_a_run_of_format_1_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = shutil.copytree(OLD, tmp_path / "run")
    monkeypatch.chdir(run)
    config = read_config("config.toml", ["train.epochs=8"])
    outcome = train(config, run, make_mesh(1), resume=True)
    assert outcome.step == 20
    newest = run / "checkpoints" / "step_20.safetensors"
    assert f'"format": "{FORMAT}"' in read_safetensors(newest)[1]["trm"]
    assert describe(newest)[0].step == 20
