"""Parity: our code against tensors that the original program produced, through `scripts/check_parity.py`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from check_parity import app, checker_of
from conftest import GOLDEN
from parity.case import read_case
from typer.testing import CliRunner

from trm.storage.safetensors import read_safetensors, write_safetensors

CASES = sorted(path.parent for path in GOLDEN.glob("*/case.json"))
# A main case compares the same modules; these are its variants.
SLOW = {
    "train_trajectory_frozen": "trm_att_step",
    "reference_failures": "trm_att_step",
    "trm_att_loss": "trm_att_step",
    "trm_hier6_l4": "trm_singlez",
    "trm_puzzle_pad": "trm_att_step",
    "trm_no_puzzle": "trm_mlp_t",
    "trm_act_continue": "trm_singlez",
    "trm_att_eval16": "evaluate_loop",
    "hrm_att": "trm_att_step",
    "hrm_mlp_t": "trm_mlp_t",
    "train_trajectory": "trm_att_step",
    "trm_hier6": "trm_singlez",
    "transformers_baseline": "trm_att_step",
}


@pytest.mark.golden
@pytest.mark.parametrize(
    "folder",
    [pytest.param(path, marks=[pytest.mark.slow] if path.name in SLOW else [], id=path.name) for path in CASES],
)
def test_parity(folder: Path):
    case = read_case(folder)
    comparisons = list(checker_of(case)(case))
    assert sum(comparison.compared for comparison in comparisons) > 0
    failed = [f"{c.run}: {c.worst:.2f} of the tolerance: {c.what}" for c in comparisons if not c.passed]
    assert not failed


def test_main_cases_are_fast():
    names = {folder.name for folder in CASES}
    assert SLOW.keys() <= names
    assert set(SLOW.values()) <= names - SLOW.keys()


def run(*folders: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(folder) for folder in folders])
    return result.exit_code, result.output


def test_exit_codes(tmp_path: Path):
    """0: everything agrees; 1: something does not; 2: a case is unknown, broken or missing."""
    good = GOLDEN / "losses"
    assert run(good)[0] == 0

    wrong = shutil.copytree(good, tmp_path / "wrong")
    arrays, metadata = read_safetensors(wrong / "tensors.safetensors")
    arrays["stablemax/loss"] = arrays["stablemax/loss"] + np.float32(1e-3)
    write_safetensors(wrong / "tensors.safetensors", arrays, metadata)
    code, output = run(good, wrong)
    assert code == 1
    assert "FAIL" in output

    unknown = tmp_path / "unknown"
    unknown.mkdir()
    (unknown / "case.json").write_text(json.dumps({"case": "cooking"}))
    code, output = run(unknown, good)
    assert code == 2
    assert "unknown kind of case: 'cooking'" in output
    assert "PASS" in output
    assert run(unknown, wrong)[0] == 1
    assert run(tmp_path / "missing")[0] == 2
