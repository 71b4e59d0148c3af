"""Weights on the hub: published, found again, and used by their address."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import check_mistake, run_trm, tiny_config
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
from trm.storage.safetensors import read_safetensors
from trm.training.state import make_state

METADATA = metadata_of(20, 4)


@pytest.fixture(scope="module")
def weights() -> Weights:
    state = fetch(make_state(tiny_config(), METADATA, make_mesh(1)))
    return Weights(state.model, state.puzzle_table)


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Make the stand-in the hub of this process."""
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HOME", str(cache))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    # The stand-in takes large files by git LFS alone.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # The hub's package calls its own client so.
def test_there_and_back(
    weights: Weights,
    puzzle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    path = tmp_path / "weights.safetensors"
    save(path, weights, Description("weights", tiny_config(data={"path": str(puzzle_dir)}), METADATA, 3, averaged=True))
    write_state_dict(tmp_path / "theirs.safetensors", to_state_dict(weights))
    theirs = {"models/step_5": (tmp_path / "theirs.safetensors").read_bytes()}
    repositories: Repositories = {"someone/original": theirs}
    with serve(repositories) as address:
        use_hub(monkeypatch, address, tmp_path / "cache")

        code, out, err = run_trm(capsys, "push", path, "me/tiny")
        assert code == 0, err
        assert "use it as hf://me/tiny/model.safetensors" in out
        code, out, err = run_trm(capsys, "evaluate", "hf://me/tiny/model.safetensors", "--data", puzzle_dir)
        assert code == 0, err
        assert "all: 10 puzzles" in out
        code, out, err = run_trm(capsys, "info", "hf://me/tiny/nothing.safetensors")
        assert code == 2
        assert "error: me/tiny: nothing.safetensors: cannot download from the hub" in err
        assert len(err.splitlines()) == 1
        imported = tmp_path / "imported.safetensors"
        command = ["import", "hf://someone/original/models/step_5", "--data", puzzle_dir, "-o", imported]
        said = ["num_heads=2", "positions=rope", "H_cycles=2", "L_cycles=2", "puzzle_emb_len=2"]
        settings = [f"--set=model.{setting}" for setting in said]
        code, out, err = run_trm(capsys, *command)
        assert code == 2
        assert "missing: model.num_heads, model.positions, model.H_cycles, model.L_cycles, model.puzzle_emb_len;" in err
        code, out, err = run_trm(capsys, *command, *settings)
        assert code == 0, err
        np.testing.assert_array_equal(load_weights(imported)[0].model.lm_head, weights.model.lm_head)
        # With the settings beside it, nothing has to be said.
        arch = settings_from_config(tiny_config()) | {"name": "x@Y"}
        theirs["models/all_config.yaml"] = yaml.dump({"arch": arch}).encode()
        imported.unlink()
        code, out, err = run_trm(capsys, *command)
        assert code == 0, err
    published = repositories["me/tiny"]
    assert sorted(published) == ["README.md", "model.safetensors"]
    # The same arrays; the path of the puzzle set on this machine is no one else's business.
    (tmp_path / "published.safetensors").write_bytes(published["model.safetensors"])
    arrays, text = read_safetensors(tmp_path / "published.safetensors")
    for name, array in read_safetensors(path)[0].items():
        np.testing.assert_array_equal(arrays.pop(name), array)
    assert not arrays
    assert str(puzzle_dir) not in str(text)
    card = published["README.md"].decode()
    assert "trm evaluate hf://me/tiny/model.safetensors --data DIR" in card
    assert "hidden_size = 16" in card


def test_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    repositories: Repositories = {
        "me/tiny": {"w": b"main", "beside": b"main's"},
        "me/tiny@v1": {"w": b"first"},
        "me/tiny@some/branch": {"w": b"branch"},
    }
    with serve(repositories) as address:
        use_hub(monkeypatch, address, tmp_path / "cache")
        for name, content in {"tiny": b"main", "tiny@v1": b"first", "tiny@some%2Fbranch": b"branch"}.items():
            path = hub.local_path(f"hf://me/{name}/w")
            assert path.read_bytes() == content
            assert path.is_relative_to(tmp_path / "cache")
        beside = hub.path_beside("hf://me/tiny/w", "beside")
        assert beside is not None
        assert beside.read_bytes() == b"main's"
        assert hub.path_beside("hf://me/tiny@v1/w", "beside") is None
        with pytest.raises(InputError, match="me/tiny@v2: w: cannot download from the hub"):
            hub.local_path("hf://me/tiny@v2/w")


def test_addresses_that_are_none():
    for address in ("hf://", "hf://me", "hf://me/tiny", "hf://me//file", "hf://me/@v1/file", "hf://me/tiny@/file"):
        with pytest.raises(InputError, match="expected hf://OWNER/REPOSITORY/FILE or hf://OWNER/REPOSITORY@REVISION"):
            hub.local_path(address)
    assert hub.local_path("some/file") == Path("some/file")


def test_a_hub_that_is_not_there(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    save(tmp_path / "w.safetensors", weights, Description("weights", tiny_config(), METADATA, 3, averaged=True))
    # Nothing listens on this port of this machine.
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    check_mistake(capsys, ["push", str(tmp_path / "w.safetensors"), "me/tiny"], "me/tiny: cannot upload to the hub")
