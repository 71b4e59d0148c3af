"""Weights that come with the package: each answers right after installation, and its card says what it is."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import check_mistake, run_trm

import trm
from trm.checkpoints.format import load_weights
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.storage.bundled import weights_names, weights_path

MOST_BYTES = 14_000_000


@pytest.mark.parametrize("name", weights_names())
def test_bundled_weights_solve_puzzles(name: str, capsys: pytest.CaptureFixture, tmp_path: Path):
    """Four easy puzzles, made here, of which one may be missed."""
    weights, description = load_weights(name)
    metadata = description.metadata
    side = metadata.side
    assert side is not None
    kind = kind_of(metadata)
    if kind.name == "sudoku":
        puzzles = list(sudoku_generator.generate_many(side, 4, seed=2_000, keep_clues=side * side // 2))
    else:
        puzzles = list(maze_generator.generate_many(side, 4, seed=2_000, unique=True))
    (tmp_path / "puzzles.txt").write_text(
        "\n".join(kind.format(puzzle.question.ravel() + (kind.name == "sudoku")) for puzzle in puzzles)
    )
    code, out, err = run_trm(capsys, "solve", name, tmp_path / "puzzles.txt", "--format", "json", "--devices", 1)
    solved = [row["obeys_rules"] for row in json.loads(out)]
    assert sum(solved) >= 3
    assert code == (0 if all(solved) else 1), err
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(weights.puzzle_table))
    assert weights_path(name).stat().st_size < MOST_BYTES
    card = weights_path(name).with_name("README.md").read_text(encoding="utf-8")
    assert f"## `{name}`" in card


@pytest.mark.slow
def test_guesses_solve_famous_puzzles(capsys: pytest.CaptureFixture, tmp_path: Path):
    """Golden Nugget and Fata Morgana, two of the hardest known: symmetries alone do not solve them in 64 attempts."""
    boards = [
        ".......39.....1..5..3.5.8....8.9...6.7...2...1..4.......9.8..5..2....6..4..7.....",
        "........3..1..56...9..4..7......9.5.7.......8.5.4.2....8..2..9...35..1..6........",
    ]
    (tmp_path / "puzzles.txt").write_text("\n".join(boards))
    code, out, err = run_trm(capsys, "solve", "sudoku", tmp_path / "puzzles.txt", "--format", "json", "--attempts", 512)
    assert code == 0, err
    assert [row["guesses"] for row in json.loads(out)] == [3, 3]


def test_names_of_weights(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert trm.load_weights("sudoku-6x6")[1].metadata.seq_len == 36
    code, out, _ = run_trm(capsys, "info", "sudoku-6x6")
    assert code == 0
    assert "bfloat16" in out
    check_mistake(capsys, ["solve", "sudoku-66", "1"], "sudoku-66: no such weights, did you mean 'sudoku-6x6'?")
    check_mistake(capsys, ["solve", "zzz", "1"], "zzz: no such weights, expected a file .safetensors or one of ")
    check_mistake(capsys, ["solve", "x" * 300, "1"], "no such weights, expected a file .safetensors or one of ")
    # A file of that name comes first.
    monkeypatch.chdir(tmp_path)
    Path("sudoku-6x6").write_text("x")
    check_mistake(capsys, ["solve", "sudoku-6x6", "1"], "sudoku-6x6: not a whole safetensors file")


def test_weights_in_half_the_space(capsys: pytest.CaptureFixture, tmp_path: Path):
    """What was rounded once stays the same; float32 is rounded to eight bits."""
    for out in ("a", "b"):
        source = "sudoku-6x6" if out == "a" else tmp_path / "a.safetensors"
        assert run_trm(capsys, "export", source, "-o", tmp_path / f"{out}.safetensors", "--bfloat16")[0] == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert run_trm(capsys, "export", "sudoku-6x6", "-o", tmp_path / "full.safetensors")[0] == 0
    half, full = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("a", "full"))
    assert half < 0.6 * full
    rounded, exact = (load_weights(tmp_path / f"{name}.safetensors")[0] for name in ("a", "full"))
    for a, b in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))
    command = ["export", "sudoku-6x6", "-o", str(tmp_path / "x.pt"), "--bfloat16", "--format", "torch"]
    check_mistake(capsys, command, "--bfloat16: found together with --format torch")
