"""The command line: every command works, and every mistake is one line with exit code 2."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_config

import trm.cli
from trm.config import config_to_toml
from trm.data import hub, sudoku, sudoku_generator
from trm.data.csv_files import bundled_csv
from trm.data.puzzles import read_puzzle_set
from trm.errors import InputError


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Call the command line in this process; return exit code, output and errors."""
    sys.argv = ["trm", *map(str, arguments)]
    try:
        trm.cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)})))
    sys.argv = ["trm", "train", str(folder / "tiny.toml"), "-o", str(folder / "run"), "--devices", "1"]
    with pytest.raises(SystemExit) as end:
        trm.cli.main()
    assert not end.value.code
    return folder / "run"


COMMANDS = ["quickstart", "train", "evaluate", "solve", "export", "info", "data sudoku", "data generate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture):
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert "Example" in out
    assert f"trm {command}" in " ".join(out.split())


def test_data_sets_are_functions_of_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, out, _ = run(
            capsys, "data", "generate", tmp_path / f"{name}.csv", "--size", 4, "--count", 12, "--seed", seed
        )
        assert code == 0
        assert "12 puzzles of 4x4" in out
        code, out, err = run(
            capsys, "data", "sudoku", tmp_path / name,
            "--train", tmp_path / f"{name}.csv", "--test", tmp_path / f"{name}.csv",
            "--subsample-size", 5, "--num-aug", 2, "--seed", seed,
        )  # fmt: skip
        assert code == 0, err
    a, b, c = (read_puzzle_set(tmp_path / name, "train").sets["all"].inputs for name in "abc")
    assert a.shape == (15, 16)
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert read_puzzle_set(tmp_path / "a", "test").examples == 12


def test_bundled_puzzles_make_a_set_without_options(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(capsys, "data", "sudoku", tmp_path / "nine")[0] == 0
    assert read_puzzle_set(tmp_path / "nine", "train").examples == 2000
    code, out, _ = run(capsys, "info", tmp_path / "nine")
    assert code == 0
    assert "2,000 examples" in out
    assert "seq_len" in out


def test_train_and_use(trained: Path, puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    checkpoint = trained / "checkpoints" / "step_15.safetensors"
    assert run(capsys, "evaluate", checkpoint, "--json", tmp_path / "report.json", "--devices", 1)[0] == 0
    report = json.loads((tmp_path / "report.json").read_text())["all"]
    assert report["examples"] == 10
    assert len(report["exact_accuracy_by_step"]) == 4
    assert (
        run(capsys, "evaluate", checkpoint, "--data", puzzle_dir, "--split", "train", "--raw", "--batch-size", 7)[0]
        == 0
    )

    exported = tmp_path / "weights.safetensors"
    assert run(capsys, "export", checkpoint, "-o", exported)[0] == 0
    assert exported.read_bytes() == (trained / "weights.safetensors").read_bytes()
    code, _, err = run(capsys, "export", checkpoint, "-o", exported)
    assert (code, "already exists" in err) == (2, True)

    for path, expected in (
        (checkpoint, "carry.halted"),
        (exported, "kind"),
        (trained, "global_batch_size"),
        ("sudoku_att", "rope"),
    ):
        code, out, _ = run(capsys, "info", path)
        assert code == 0
        assert expected in out


def test_solve(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    weights, puzzle = trained / "weights.safetensors", "1..4..2..4....3."
    code, out, _ = run(capsys, "solve", weights, puzzle)
    assert code == 0
    assert "supervision steps" in out
    assert ("obeys the rules" in out) != ("breaks the rules" in out)
    code, out, _ = run(capsys, "solve", weights, puzzle, "--steps")
    assert "step 1" in out

    (tmp_path / "puzzles.txt").write_text(f"{puzzle}\n\n{puzzle[::-1]}\n")
    code, plain, _ = run(capsys, "solve", weights, tmp_path / "puzzles.txt", "--plain")
    assert code == 0
    answers = plain.split()
    assert [len(answer) for answer in answers] == [16, 16]
    read, write = os.pipe()
    os.write(write, (puzzle + "\n").encode())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, _ = run(capsys, "solve", weights, "-", "--plain")
    assert out.split() == answers[:1]


def test_dry_run_trains_nothing(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "tiny.toml").write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)})))
    code, out, _ = run(capsys, "train", tmp_path / "tiny.toml", "-o", tmp_path / "run", "--dry-run", "--devices", 1)
    assert code == 0
    for word in ("parameters", "steps", "15", "examples", "120", "memory"):
        assert word in out
    assert not (tmp_path / "run").exists()


def wrong(*arguments: object, says: str):
    return pytest.param([str(a) for a in arguments], says, id=" ".join(map(str, arguments))[:60])


MISTAKES = [
    wrong("train", "nowhere.toml", says="nowhere.toml: no such configuration"),
    wrong(
        "train",
        "sudoku_mlp",
        "--set",
        "model.hiden_size=3",
        says="model.hiden_size: unknown key, did you mean 'hidden_size'?",
    ),
    wrong("train", "sudoku_mlp", "--set", "data.path=nowhere", says="nowhere/train/dataset.json: cannot read"),
    wrong("train", "{tiny}", "--devices", 99, says="--devices: found 99"),
    wrong(
        "train", "{tiny}", "--set", "train.global_batch_size=7", "--devices", 2, says="train.global_batch_size: found 7"
    ),
    wrong("train", "{tiny}", "-o", "{run}", says="already holds step_15.safetensors"),
    wrong("evaluate", "nowhere.safetensors", says="nowhere.safetensors: cannot read"),
    wrong("evaluate", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("evaluate", "{weights}", "--data", "nowhere", says="nowhere/test/dataset.json: cannot read"),
    wrong("evaluate", "{weights}", "--data", "{six}", says="vocab_size: found 8, expected 6"),
    wrong("solve", "{weights}", "12345", says="puzzle: found 5 cells, expected 16, 36 or 81"),
    wrong("solve", "{weights}", "1..4..2..4....3x", says="cell 16 (row 4, column 4): found 'x', expected 1 to 4"),
    wrong(
        "solve", "{weights}", "." * 81, says="puzzle: found 81 cells, expected 16: the model was trained on 4x4 boards"
    ),
    wrong("solve", "{weights}", "nowhere/puzzles.txt", says="nowhere/puzzles.txt: no such file"),
    wrong("solve", "{tiny}", "1...", says="tiny.toml: not a whole safetensors file"),
    wrong("export", "nowhere.safetensors", "-o", "x", says="nowhere.safetensors: cannot read"),
    wrong("info", "nowhere", says="nowhere: no such configuration"),
    wrong("info", "{empty}", says="found neither train/ nor test/"),
    wrong("data", "generate", "{empty}/x.csv", "--size", 5, says="--size: found 5, expected one of 4, 6, 9"),
    wrong("data", "generate", "{tiny}", says="already exists"),
    wrong(
        "data",
        "sudoku",
        "{empty}/x",
        "--train",
        "nowhere.csv",
        "--test",
        "nowhere.csv",
        says="nowhere.csv: cannot read",
    ),
    wrong("data", "sudoku", "{empty}/x", "--train", "nowhere.csv", says="--train and --test: found one of them"),
    wrong(
        "data", "sudoku", "{empty}/x", "--train", "{tiny}", "--test", "{tiny}", says="tiny.toml: header: found '[data]'"
    ),
    wrong("data", "sudoku", "{run}", says="already exists, expected a new or empty folder"),
    wrong("data", "sudoku", "{empty}/x", "--min-difficulty", 10**6, says="found no puzzle rated 1000000 or more"),
    wrong("quickstart", "-o", "{run}", says="already holds a run"),
    wrong("quickstart", "-o", "{tiny}", says="found something that is no run"),
    wrong("export", "{weights}", "-o", "{tiny}/x", says="cannot write"),
    wrong("evaluate", "{weights}", "--json", "{tiny}/x", says="cannot write"),
    wrong("train", "{tiny}", "-o", "{tiny}/run", says="cannot write"),
    wrong("info", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("solve", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("export", "{cut}", "-o", "{empty}/x", says="cut.safetensors: not a whole safetensors file"),
    wrong("info", "x" * 300, says="found 300 characters"),
    wrong("data", "generate", "{empty}/x.csv", "--count", "abc", says="Invalid value for '--count'"),
    wrong("data", "generate", says="Missing argument"),
    wrong("train", "sudoku_mlp", "--sett", "x", says="No such option: --sett"),
    wrong("solve", "{weights}", "." * 300, says="puzzle: found 300 cells"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], says: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    six = tmp_path / "six"
    if "{six}" in arguments:
        assert run(capsys, "data", "sudoku", six, "--train", _bundled("train"), "--test", _bundled("test"))[0] == 0
    weights = trained / "weights.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-3])
    empty = tmp_path / "empty"
    empty.mkdir()
    names = {
        "tiny": trained.parent / "tiny.toml",
        "run": trained,
        "weights": weights,
        "cut": cut,
        "six": six,
        "empty": empty,
    }
    before = sorted(p for p in trained.rglob("*"))
    code, _, err = run(capsys, *(argument.format(**names) for argument in arguments))
    assert code == 2
    assert says in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert sorted(p for p in trained.rglob("*")) == before
    assert list(empty.iterdir()) == []


def _bundled(split: str) -> Path:
    return bundled_csv(f"sudoku-6x6-{split}.csv.gz")


def test_a_closed_pipe_is_no_error(trained: Path):
    command = f"{sys.executable} -m trm info {trained / 'weights.safetensors'} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""


# The hub, played by a server on this machine


class Hub(BaseHTTPRequestHandler):
    """Serves two files of one data set the way the hub does."""

    files: dict[str, bytes]

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body: bool):
        prefix = "/datasets/someone/sudokus/resolve/main/"
        content = self.files.get(self.path.removeprefix(prefix)) if self.path.startswith(prefix) else None
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if with_body:
            self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object):
        pass


@pytest.fixture
def stand_in_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for split, seed in (("train", 0), ("test", 1)):
        sudoku.write_csv(tmp_path / f"{split}.csv", "hub", sudoku_generator.generate_many(4, 6, seed))
    Hub.files = {f"{split}.csv": (tmp_path / f"{split}.csv").read_bytes() for split in ("train", "test")}
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    # The endpoint is read when the hub's package is imported: a process of its own sees it.
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_from_the_hub(stand_in_hub: None, tmp_path: Path):
    def trm_data(*options: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "trm", "data", "sudoku", str(tmp_path / "set"), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = trm_data("--hub", "someone/nothing")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "error: someone/nothing: train.csv: cannot download from the hub" in done.stderr
    done = trm_data("--hub", "someone/sudokus")
    assert done.returncode == 0, done.stderr
    assert read_puzzle_set(tmp_path / "set", "train").examples == 6


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"expected `pip install 'trm\[hub\]'`"):
        hub.download("someone/sudokus", "train.csv")
