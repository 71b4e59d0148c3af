"""Commands that show, publish and measure weights: what they print, and what they keep private."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import check_mistake, run_trm, tiny_config

import trm
from trm.checkpoints.card import model_card
from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.show.console import printable
from trm.training.state import make_state


@pytest.fixture(scope="module")
def description(puzzle_dir: Path, splits: dict[str, trm.PuzzleSet]) -> Description:
    config = tiny_config(data={"path": str(puzzle_dir), "validation": 40})
    return Description("weights", config, splits["train"].metadata, 1234, averaged=True, chosen_on="validation")


@pytest.fixture(scope="module")
def weights(description: Description) -> Weights:
    state = fetch(make_state(description.config, description.metadata, make_mesh(1)))
    return Weights(state.model, state.puzzle_table)


@pytest.mark.parametrize(
    ("changes", "says", "caution"),
    [
        ({}, "moving average after 1,234 training steps, chosen on 40 held-back training puzzles", False),
        ({"averaged": False, "chosen_on": ""}, "raw weights after 1,234 training steps", False),
        ({"chosen_on": "test"}, "moving average after 1,234 training steps, chosen on the test set", True),
    ],
)
def test_what_chose_the_weights(
    changes: dict[str, Any],
    says: str,
    caution: bool,
    description: Description,
    weights: Weights,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    """In the card, in `info`, and in the report of an evaluation."""
    described = dataclasses.replace(description, **changes)
    path, report = tmp_path / "w.safetensors", tmp_path / "report.json"
    save(path, weights, described)
    card = model_card("me/tiny", "w.safetensors", described, 10)
    assert f"tokens: {says}. Written by" in card
    assert ("biased upwards" in card) == caution
    code, out, _ = run_trm(capsys, "info", path)
    assert code == 0
    assert " ".join(out.split()).find(f"weights {says}") > 0
    code, out, err = run_trm(capsys, "evaluate", path, "--json", report, "--devices", 1, "--set", "model.remat=true")
    assert code == 0, err
    assert out.startswith(f"{path}: {says}\n")
    values = json.loads(report.read_text())
    assert values["weights"] == {
        "step": 1234,
        "averaged": described.averaged,
        "chosen_on": described.chosen_on or None,
    }
    assert values["all"]["examples"] == 10
    command = ["evaluate", str(path), "--set", "model.L_cycles=5"]
    check_mistake(capsys, command, "model.L_cycles: found 5, expected no other key than model.fused_attention")


def test_the_path_of_the_puzzle_set_stays_here(
    description: Description,
    weights: Weights,
    puzzle_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    path, published = tmp_path / "w.safetensors", {}

    def upload(repository: str, files: dict[str, Path | bytes], *_: Any) -> str:
        published.update({name: f.read_bytes() if isinstance(f, Path) else f for name, f in files.items()})
        return f"https://hub/{repository}"

    save(path, weights, description)
    assert str(puzzle_dir).encode() in path.read_bytes()
    monkeypatch.setattr("trm.cli.weights.upload", upload)
    code, out, err = run_trm(capsys, "push", path, "me/tiny")
    assert code == 0, err
    assert "use it as hf://me/tiny/model.safetensors" in out
    assert sorted(published) == ["README.md", "model.safetensors"]
    for content in published.values():
        assert str(puzzle_dir).encode() not in content
        assert b"sudoku-4x4" not in content
    assert b"chosen on 40 held-back training puzzles" in published["README.md"]
    (tmp_path / "again.safetensors").write_bytes(published["model.safetensors"])
    assert trm.load(tmp_path / "again.safetensors").description.chosen_on == "validation"


def test_a_file_does_not_command_the_terminal(weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Escape sequences in the metadata are shown, not obeyed."""
    evil = "\x1b]0;title\x07\x1b[2J\u202edlrow\r"
    metadata = dataclasses.replace(metadata_of(20, 4), sets=["all"])
    description = Description("weights", tiny_config(), metadata, 3, averaged=True, versions={"trm": evil})
    save(tmp_path / "w.safetensors", weights, description)
    code, out, _ = run_trm(capsys, "info", tmp_path / "w.safetensors")
    assert code == 0
    assert not any(character in out for character in "\x1b\x07\u202e\r")
    assert r"\x1b]0;title\x07" in out
    # And what an error says of a file.
    code, out, err = run_trm(capsys, "info", f"{evil}.safetensors")
    assert code == 2
    assert not any(character in err for character in "\x1b\x07\u202e\r")


def test_printable():
    assert printable("S. 12 naïve\tÅ 数独\n\u00a0x") == "S. 12 naïve\tÅ 数独\n\u00a0x"
    assert printable("a\x1b[31mb\x9bc\ud800") == r"a\x1b[31mb\x9bc\ud800"
