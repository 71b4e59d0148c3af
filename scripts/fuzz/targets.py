"""Fuzz targets: readers of bytes, each with good inputs to begin from. Entry: `TARGETS`."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fuzz import checkpoints
from trm.configuration.reading import config_from_tables, read_config
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import check_puzzle_set
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.arc.sources import list_subsets, read_subset
from trm.puzzles.kinds.maze import generate as mazes
from trm.puzzles.kinds.maze.text import format_maze
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.sudoku.generate import generate_many
from trm.puzzles.reading import read_puzzle_sets
from trm.puzzles.text.decode import read_text
from trm.puzzles.writing import write_puzzle_set


class Target(NamedTuple):
    """A reader. It raises InputError, and nothing else, for what it cannot read."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    """Reads a file, whatever is in it."""
    needs: str = ""
    """Package that the reader needs."""


def _sudoku_texts() -> list[bytes]:
    (puzzle,) = generate_many(9, 1, seed=1, keep_clues=30)
    line, answer = (
        "".join(".123456789"[digit] for digit in board.ravel().tolist()) for board in (puzzle.question, puzzle.answer)
    )
    rows = [line[i : i + 9] for i in range(0, 81, 9)]
    bars = [f"{row[:3]} | {row[3:6]} | {row[6:]}" for row in rows]
    rule = "\n------+-------+------\n"
    texts = [
        line,
        "\n".join(rows),
        "\n".join(" ".join(row) for row in rows),
        "Grid 01\n" + "\n".join(rows) + f"\n\n{line} # 3.2",
        rule.join("\n".join(bars[i : i + 3]) for i in (0, 3, 6)),
        json.dumps([[int(c) if c != "." else 0 for c in row] for row in rows]),
        json.dumps({"puzzle": line, "rating": 1.5}),
        f"<opensudoku><game data='{line.replace('.', '0')}'/></opensudoku>",
        "[Puzzle]\n" + "\n".join(rows),
        f"source,question,answer,rating\nx,{line},{answer},3\ny,{line},{answer},4\n",
        f"quizzes;solutions\n{line};{answer}\n",
        f"{line},{answer}\n",
    ]
    return [text.encode() for text in texts] + [texts[1].encode("utf-16")]


def _maze_texts() -> list[bytes]:
    (maze,) = mazes.generate_many(9, 1, seed=0)
    question, answer = format_maze(maze.question), format_maze(maze.answer)
    rows = [question[i : i + 9] for i in range(0, 81, 9)]
    texts = ["\n".join(rows), question, json.dumps(rows), f"question,answer\n{question},{answer}\n"]
    return [text.encode() for text in texts]


def _read_texts(kind: str, seq_len: int) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        questions = KINDS[kind].read(read_text(path), str(path), seq_len, None)
        return [KINDS[kind].problem(question.tokens) for question in questions[:1] if len(question.tokens) < 100]

    return read


def _arc_texts() -> list[bytes]:
    pair = {"input": [[0, 1], [2, 3]], "output": [[3, 2], [1, 0]]}
    task = {"train": [pair, pair], "test": [pair]}
    text_rows = {"train": [{"input": ["01"], "output": ["10"]}], "test": [pair]}
    values = [task, {"a": task, "b": task}, {"a": [pair, pair]}, text_rows]
    return [json.dumps(value).encode() for value in values]


def _read_arc(path: Path) -> object:
    source = path.rename(path.with_suffix(".json"))
    return [list(read_subset(str(source), subset)) for subset in list_subsets(source)]


_SET = "train/dataset.json", "train/all__inputs.npy", "train/all__group_indices.npy", "identifiers.json"


def _write_set(folder: Path) -> None:
    rng = np.random.default_rng(0)
    questions = rng.integers(1, 6, (6, 16), dtype=np.uint8)
    made = PuzzleSet.from_arrays(questions, questions, vocab_size=6)
    write_puzzle_set(folder, {"train": made, "test": made}, overwrite=True)


def _set_files() -> list[bytes]:
    """Return the files of a puzzle set, each after a byte that says which it is."""
    with tempfile.TemporaryDirectory() as folder:
        _write_set(Path(folder) / "set")
        return [bytes([48 + i]) + (Path(folder) / "set" / name).read_bytes() for i, name in enumerate(_SET)]


def _read_set(path: Path) -> object:
    data = path.read_bytes()
    folder = path.parent / "set"
    if not folder.exists():
        _write_set(folder)
    changed = folder / _SET[(data[0] if data else 0) % len(_SET)]
    before = changed.read_bytes()
    changed.write_bytes(data[1:])
    try:
        read_puzzle_sets([folder], "train")
        read_identifiers(folder)
        return list(check_puzzle_set(folder))
    finally:
        changed.write_bytes(before)


def _toml() -> list[bytes]:
    bundled = Path(__file__).resolve().parents[2] / "configs"
    return [path.read_bytes() for path in sorted(bundled.glob("*.toml"))]


def _settings() -> list[bytes]:
    texts = ["train.epochs=10", "model.mixer=mlp", "train.curriculum=[[0.5, 1, 2]]", "data.path=['a', 'b']"]
    return [text.encode() for text in texts]


def _read_settings(path: Path) -> object:
    return config_from_tables({}, path.read_bytes().decode("utf-8", "replace").splitlines())


TARGETS = {
    "sudoku": Target(_sudoku_texts, _read_texts("sudoku", 81)),
    "maze": Target(_maze_texts, _read_texts("maze", 81)),
    "csv": Target(lambda: _sudoku_texts()[-4:-1], sudoku_text.read_table),
    "arc": Target(_arc_texts, _read_arc),
    "puzzle-set": Target(_set_files, _read_set),
    "safetensors": Target(checkpoints.safetensors_files, checkpoints.read_safetensors_file),
    "torch": Target(checkpoints.torch_files, checkpoints.read_torch_file, "torch"),
    "torch-settings": Target(checkpoints.settings_files, checkpoints.read_settings_file, "yaml"),
    "toml": Target(_toml, read_config),
    "settings": Target(_settings, _read_settings),
}
"""By name."""
