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


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_parity(folder: Path):
    case = read_case(folder)
    comparisons = list(checker_of(case)(case))
    assert sum(comparison.compared for comparison in comparisons) > 0
    failed = [f"{c.run}: {c.worst:.2f} of the tolerance: {c.what}" for c in comparisons if not c.passed]
    assert not failed


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
