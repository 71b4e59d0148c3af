"""Weights on the hub: published, found again, and used by their address."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import tiny_config
from stand_in_hub import Repositories, serve

from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.errors import InputError
from trm.model.weights import Weights
from trm.original.files import write_state_dict
from trm.original.settings import settings_from_config
from trm.original.state_dict import to_state_dict
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.storage import hub
from trm.training.state import make_state

METADATA = metadata_of(20, 4)


@pytest.fixture(scope="module")
def weights() -> Weights:
    state = fetch(make_state(tiny_config(), METADATA, make_mesh(1)))
    return Weights(state.model, state.puzzle_table)


def test_there_and_back(weights: Weights, puzzle_dir: Path, tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save(path, weights, Description("weights", tiny_config(data={"path": str(puzzle_dir)}), METADATA, 3, averaged=True))
    write_state_dict(tmp_path / "theirs.safetensors", to_state_dict(weights))
    theirs = {"models/step_5": (tmp_path / "theirs.safetensors").read_bytes()}
    repositories: Repositories = {"someone/original": theirs}
    with serve(repositories) as address:
        # The address is read when the hub's package is imported: a process of its own sees it.
        environment = os.environ | {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_XET": "1",
        }

        def run(*arguments: object) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "trm", *map(str, arguments)]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

        done = run("push", path, "me/tiny")
        assert done.returncode == 0, done.stderr
        assert "use it as hf://me/tiny/model.safetensors" in done.stdout
        done = run("evaluate", "hf://me/tiny/model.safetensors")
        assert done.returncode == 0, done.stderr
        assert "all: 10 puzzles" in done.stdout
        done = run("info", "hf://me/tiny/nothing.safetensors")
        assert done.returncode == 2
        assert "error: me/tiny: nothing.safetensors: cannot download from the hub" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        said = ["num_heads=2", "positions=rope", "H_cycles=2", "L_cycles=2", "puzzle_emb_len=2"]
        settings = [f"--set=model.{setting}" for setting in said]
        imported = tmp_path / "imported.safetensors"
        done = run("import", "hf://someone/original/models/step_5", "--data", puzzle_dir, "-o", imported)
        assert done.returncode == 2
        assert "model.num_heads: unknown: neither the tensors nor an all_config.yaml beside" in done.stderr
        done = run("import", "hf://someone/original/models/step_5", "--data", puzzle_dir, "-o", imported, *settings)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(load_weights(imported)[0].model.lm_head, weights.model.lm_head)
        # With the settings beside it, nothing has to be said.
        arch = settings_from_config(tiny_config()) | {"name": "x@Y"}
        theirs["models/all_config.yaml"] = yaml.dump({"arch": arch}).encode()
        imported.unlink()
        done = run("import", "hf://someone/original/models/step_5", "--data", puzzle_dir, "-o", imported)
        assert done.returncode == 0, done.stderr
    published = repositories["me/tiny"]
    assert sorted(published) == ["README.md", "model.safetensors"]
    assert published["model.safetensors"] == path.read_bytes()
    card = published["README.md"].decode()
    assert "trm evaluate hf://me/tiny/model.safetensors --data DIR" in card
    assert "hidden_size = 16" in card


def test_addresses_that_are_none():
    for address in ("hf://", "hf://me", "hf://me/tiny", "hf://me//file"):
        with pytest.raises(InputError, match="expected hf://OWNER/REPOSITORY/FILE"):
            hub.local_path(address)
    assert hub.local_path("some/file") == Path("some/file")


def test_a_hub_that_is_not_there(weights: Weights, tmp_path: Path):
    save(tmp_path / "w.safetensors", weights, Description("weights", tiny_config(), METADATA, 3, averaged=True))
    # Nothing listens on this port of this machine.
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_test"}
    command = [sys.executable, "-m", "trm", "push", str(tmp_path / "w.safetensors"), "me/tiny"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error: me/tiny: cannot upload to the hub" in done.stderr
