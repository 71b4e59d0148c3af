"""`trm config show`: every value, and where it comes from."""

import json
from pathlib import Path

import pytest
from conftest import check_mistake, run_trm

from trm.configuration.reading import read_config
from trm.storage.bundled import config_path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text('base = "sudoku_mlp_no_ema"\n[train]\nseed = 5\n')
    return path


def test_columns(capsys: pytest.CaptureFixture, own: Path):
    code, out, err = run_trm(capsys, "config", "show", own, "--set", "model.H_cycles=2")
    assert (code, err) == (0, "")
    rows = {tuple(line.split(maxsplit=2)) for line in out.splitlines()}
    assert {
        ("data.path", '"data/sudoku"', "sudoku_mlp (base)"),
        ("optimizer.ema", "false", "sudoku_mlp_no_ema (base)"),
        ("train.seed", "5", str(own)),
        ("model.H_cycles", "2", "--set"),
        ("model.L_cycles", "6", "default"),
        ("model.puzzle_emb_ndim", "unset", "default"),
    } <= rows
    assert len({line.index(line.split(maxsplit=2)[1]) for line in out.splitlines()}) == 1


def test_toml_and_json(capsys: pytest.CaptureFixture, own: Path, tmp_path: Path):
    code, out, _ = run_trm(capsys, "config", "show", own, "--format", "toml")
    assert code == 0
    assert "seed = 5  # " in out
    written = tmp_path / "written.toml"
    written.write_text(out)
    assert read_config(written) == read_config(own)

    code, out, _ = run_trm(capsys, "config", "show", "sudoku_mlp", "--format", "json")
    values = json.loads(out)
    assert values["model"]["mixer"] == {"value": "mlp", "source": "sudoku_mlp"}
    assert values["model"]["puzzle_emb_ndim"] == {"value": None, "source": "default"}
    assert values["train"]["epochs"]["value"] == read_config(config_path("sudoku_mlp")).train.epochs


def test_mistakes(capsys: pytest.CaptureFixture):
    check_mistake(capsys, ["config", "show", "sudoku_mlq"], "did you mean 'sudoku_mlp'")
    check_mistake(capsys, ["config", "show", "sudoku_mlp", "--set", "model.recursion=hrn"], "did you mean 'hrm'")
    check_mistake(capsys, ["config", "show", "sudoku_mlp", "--format", "yaml"], "'yaml' is not one of")
