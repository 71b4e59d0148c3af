"""The README's code does what the README says."""

import re
from pathlib import Path

import jax
import pytest
from conftest import run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.model.reasoner import Reasoner
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.training.state import make_state

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def code_block(says: str) -> str:
    """Return the one block of Python that holds some words."""
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if says in block]
    return block


def with_changes(code: str, changes: dict[str, str]) -> str:
    """Replace words, each of which must stand in the code once."""
    for old, new in changes.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    return code


def test_a_recursion_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "interleaved.py").write_text(code_block("class Interleaved"))
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny_config(model={"recursion": "interleaved:Interleaved"}).model
    model = Reasoner(config, 6, 16, key=jax.random.key(0))
    inputs = jax.random.randint(jax.random.key(1), (2, 16), 0, 6)
    rows = jax.random.normal(jax.random.key(2), (2, 16))

    def loss(model: Reasoner) -> jax.Array:
        return model(inputs, rows, model.initial_latents(inputs.shape))[1].logits.sum()

    assert jax.jit(jax.grad(loss))(model).lm_head.any()


def test_puzzles_from_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(tmp_path)
    exec(
        with_changes(
            code_block("PuzzleSet.from_arrays"), {'"epochs": 20': '"epochs": 2', 'interval": 10': 'interval": 1'}
        ),
        {},
    )
    assert 0 <= float(capsys.readouterr().out.splitlines()[-1]) <= 1
    code, out, _ = run_trm(capsys, "data", "check", "data/reverse")
    assert code == 0
    assert "1,800 examples" in out


def test_supervision_steps_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    metadata = metadata_of(20, 6)
    state = fetch(make_state(tiny_config(), metadata, make_mesh(1)))
    monkeypatch.chdir(tmp_path)
    path = Path("runs/quickstart/weights.safetensors")
    save(
        path,
        Weights(state.model, state.puzzle_table),
        Description("weights", tiny_config(), metadata, 1, averaged=True),
    )
    # The README takes NumPy's view of arrays without types; these tests forbid mixing them.
    with jax.numpy_dtype_promotion("standard"):
        exec(code_block("import trm\n"), names := {})
    capsys.readouterr()
    assert names["reasoning"].outputs.predictions.shape == (8, 2, 36)
    assert names["further"].outputs.q_halt_logits.shape == (8, 2)
    assert names["gradient"].model.lm_head.shape == state.model.lm_head.shape
