"""The parity script: what it records, and that the check of the sliced loss can fail."""

from pathlib import Path

import jax
import numpy as np
import pytest
from check_parity import app
from conftest import GOLDEN
from parity import failures
from parity.case import Comparison
from records import read_records
from typer.testing import CliRunner

from trm.storage.safetensors import read_safetensors, write_safetensors


def test_json(tmp_path: Path):
    """A line for each case, also for one that fails."""
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "case.json").write_bytes((GOLDEN / "losses" / "case.json").read_bytes())
    arrays, metadata = read_safetensors(GOLDEN / "losses" / "tensors.safetensors")
    arrays["softmax/loss"] = np.full_like(arrays["softmax/loss"], np.nan)
    write_safetensors(wrong / "tensors.safetensors", arrays, metadata)
    out = tmp_path / "parity.jsonl"
    result = CliRunner().invoke(app, [str(GOLDEN / "losses"), str(wrong), "--json", str(out)])
    assert result.exit_code == 1
    good, bad = read_records(out)
    assert (good.case, good.figures["runs"], good.figures["failed"]) == ({"case": "losses"}, 3, 0)
    assert 0 < good.figures["error_per_tolerance"] < 1
    assert good.command == f"python scripts/check_parity.py {GOLDEN / 'losses'}"
    assert (bad.figures["error_per_tolerance"], bad.figures["failed"]) == (None, 1)
    assert bad.figures["worst"] == "softmax: loss"


def test_the_sliced_loss_is_compared(monkeypatch: pytest.MonkeyPatch):
    """A loss of logits that are 0.1 % too large is found, and so is one of the wrong positions."""
    right = failures.token_losses
    wrong = {
        "larger": lambda logits, *others: right(logits * jax.numpy.float32(1.001), *others),
        "shifted": lambda logits, *others: right(jax.numpy.roll(logits, 1, axis=1), *others),
    }
    for name, losses in {"right": right, **wrong}.items():
        monkeypatch.setattr(failures, "token_losses", losses)
        comparison = Comparison(name)
        failures._check_sliced_loss(comparison)
        assert comparison.compared == 2
        assert comparison.passed == (name == "right")
