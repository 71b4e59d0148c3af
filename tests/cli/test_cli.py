"""The command line: every command works, and every mistake is one line with exit code 2."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.cli.main import main
from trm.configuration.reading import config_to_toml
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import rules as sudoku_rules
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.training.state import make_state


@pytest.fixture(scope="module")
def trained(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)})))
    sys.argv = ["trm", "train", str(folder / "tiny.toml"), "-o", str(folder / "run"), "--devices", "1"]
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return folder / "run"


COMMANDS = [
    "quickstart",
    "train",
    "evaluate",
    "solve",
    "export",
    "import",
    "push",
    "info",
    *(f"data {c}" for c in ("sudoku", "maze", "arc", "generate", "check")),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture):
    code, out, _ = run_trm(capsys, *command.split(), "--help")
    assert code == 0
    assert "Example" in out
    assert f"trm {command}" in " ".join(out.split())


def test_train_and_use(trained: Path, puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    checkpoint = trained / "checkpoints" / "step_15.safetensors"
    assert run_trm(capsys, "evaluate", checkpoint, "--json", tmp_path / "report.json", "--devices", 1)[0] == 0
    report = json.loads((tmp_path / "report.json").read_text())["all"]
    assert report["examples"] == 10
    assert [row["steps"] for row in report["by_compute"]] == [1, 2, 3, 4]
    assert sum(row["accuracy"]["puzzles"] for row in report["by_difficulty"]) == 10

    # More thinking, and less of it: the report says what each costs.
    thinking = ["--views", 3, "--steps", 2, "--select", "vote", "--json", tmp_path / "report.json"]
    thinking += ["--answers", tmp_path / "answers.npz"]
    code, out, err = run_trm(capsys, "evaluate", checkpoint, "--devices", 2, *thinking)
    assert code == 0, err
    assert "95 % interval" in out
    by_compute = json.loads((tmp_path / "report.json").read_text())["all"]["by_compute"]
    assert [row["candidates"] for row in by_compute] == [1, 2, 3]
    assert all(row["candidates"] <= row["steps"] <= 2 * row["candidates"] for row in by_compute)
    with np.load(tmp_path / "answers.npz") as answers:
        assert answers["predictions"].shape == (10, 16)
        np.testing.assert_array_equal(answers["inputs"], np.load(puzzle_dir / "test" / "all__inputs.npy"))
    # Four devices would fill the batch up to twelve.
    thinking = ["--steps", 2, "--json", tmp_path / "report.json", "--answers", tmp_path / "answers.npz"]
    assert run_trm(capsys, "evaluate", checkpoint, "--devices", 4, *thinking)[0] == 0
    with np.load(tmp_path / "answers.npz") as answers:
        np.testing.assert_array_equal(answers["inputs"], np.load(puzzle_dir / "test" / "all__inputs.npy"))
        assert answers["q_halt_logits"].shape == (10,)
    by_compute = json.loads((tmp_path / "report.json").read_text())["all"]["by_compute"]
    assert [row["steps"] for row in by_compute] == [1, 2]
    assert (
        run_trm(capsys, "evaluate", checkpoint, "--data", puzzle_dir, "--split", "train", "--raw", "--batch-size", 7)[0]
        == 0
    )

    exported = tmp_path / "weights.safetensors"
    assert run_trm(capsys, "export", checkpoint, "-o", exported)[0] == 0
    assert exported.read_bytes() == (trained / "weights.safetensors").read_bytes()
    code, _, err = run_trm(capsys, "export", checkpoint, "-o", exported)
    assert (code, "already exists" in err) == (2, True)

    for path, expected in (
        (checkpoint, "carry.halted"),
        (exported, "kind"),
        (trained, "global_batch_size"),
        ("sudoku_att", "rope"),
    ):
        code, out, _ = run_trm(capsys, "info", path)
        assert code == 0
        assert expected in out


@pytest.mark.slow
def test_a_configuration_of_ones_own_stays_as_it_is(
    puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    text = "# mine\n" + config_to_toml(tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 2}))
    Path("config.toml").write_text(text)
    assert run_trm(capsys, "train", "config.toml", "--devices", 1)[0] == 0
    assert Path("config.toml").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "runs"]
    # A run folder goes on in itself, whatever its name: to rich, this one would end a markup.
    Path("runs/[").mkdir()
    Path("runs/config").rename("runs/[/x]")
    code, out, err = run_trm(capsys, "train", "runs/[/x]", "--resume", "--devices", 1)
    assert code == 0, err
    assert "resuming from runs/[/x]/checkpoints/step_5.safetensors" in out
    # A folder that happens to be called like a configuration is no run folder.
    Path("runs/[/x]").rename("runs/quickstart")
    Path("quickstart").mkdir()
    command = ["train", "quickstart", "--set", f"data.path={puzzle_dir}", "--devices", "1"]
    check_mistake(capsys, command, "error: runs/quickstart: already holds step_5.safetensors")


def test_solve(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    weights, puzzle = trained / "weights.safetensors", "12..34...1......"
    code, out, err = run_trm(capsys, "solve", weights, puzzle, "--attempts", 3, "--no-halt", "--no-check")
    assert code == 1
    assert re.search(r"breaks the rules: .*; confidence 0\.\d{3}, 3 attempts, 12 supervision steps$", out, re.MULTILINE)
    assert err == "warning: puzzle: not solved after 3 attempts, the answer breaks the rules\n"
    code, out, _ = run_trm(capsys, "solve", weights, puzzle, "--watch")
    assert "step 1" in out

    assert "of 4 supervision steps" in out
    assert "of 2 supervision steps" in run_trm(capsys, "solve", weights, puzzle, "--watch", "--steps", 2)[1]

    # As some editors begin a file.
    (tmp_path / "puzzles.txt").write_text(f"\ufeff{puzzle}\n\n{puzzle[::-1]}\n")
    code, plain, _ = run_trm(capsys, "solve", weights, tmp_path / "puzzles.txt", "--format", "plain", "--attempts", 9)
    assert code == 1
    answers = plain.splitlines()
    assert [line[16:] for line in answers] == ["\tbreaks the rules"] * 2
    read, write = os.pipe()
    os.write(write, (puzzle + "\n").encode())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, _ = run_trm(capsys, "solve", weights, "-", "--format", "plain", "--attempts", 9)
    assert out.splitlines() == answers[:1]
    for stdin, says in (
        (None, "found it closed"),
        (io.TextIOWrapper(io.BytesIO(b"\xff1"), "utf-8"), "cannot read: found no text"),
    ):
        monkeypatch.setattr(sys, "stdin", stdin)
        check_mistake(capsys, ["solve", str(weights)], f"standard input: {says}")


def test_solve_in_other_formats(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    weights, puzzle = trained / "weights.safetensors", "12..34...1......"
    # As a grid, and from a file of puzzles with their answers.
    grid, table = tmp_path / "grid.txt", tmp_path / "puzzles.csv"
    grid.write_text("12 ..\n34 ..\n.1 ..\n.. ..\n")
    sudoku_text.write_csv(table, "test", sudoku_generator.generate_many(4, 3, seed=5))
    code, out, _ = run_trm(capsys, "solve", weights, grid, "--format", "json")
    assert code == 1
    (row,) = json.loads(out)
    assert row["puzzle"] == puzzle
    assert len(row["answer"]) == 16
    assert row["attempts"] == 512
    assert 512 <= row["steps"] <= 2048
    code, out, err = run_trm(capsys, "solve", weights, table, "--format", "csv", "--no-halt", "--attempts", 2)
    assert code == 1
    header, *rows = out.splitlines()
    assert header == "puzzle,answer,obeys_rules,confidence,halted,steps,attempts,guesses"
    assert [line.rsplit(",", 4)[1:] for line in rows] == [["False", "8", "2", "0"]] * 3
    assert len(err.splitlines()) == 3
    # Nothing but questions.
    (tmp_path / "questions.CSV").write_text(f"number,question\n1,{puzzle}\n2,{puzzle}\n")
    code, out, _ = run_trm(capsys, "solve", weights, tmp_path / "questions.CSV", "--format", "plain", "--attempts", 9)
    assert code == 1
    assert len(out.splitlines()) == 2
    # Twelve candidates, of six steps each.
    more = ["--views", "4", "--rollouts", "3", "--noise", "0.5", "--steps", "6", "--no-halt", "--select", "vote"]
    code, out, _ = run_trm(capsys, "solve", weights, puzzle, "--format", "json", *more)
    assert code == 1
    assert (json.loads(out)[0]["steps"], json.loads(out)[0]["attempts"]) == (72, 12)
    _, out, _ = run_trm(capsys, "solve", weights, puzzle, *more)
    assert "12 attempts, 72 supervision steps" in out


@pytest.mark.slow
def test_solve_mazes(tmp_path: Path, capsys: pytest.CaptureFixture):
    metadata = maze_build.metadata_of(4, 6)
    state = fetch(make_state(tiny_config(), metadata, make_mesh(1)))
    save(
        tmp_path / "w.safetensors",
        Weights(state.model, state.puzzle_table),
        Description("weights", tiny_config(), metadata, 1, averaged=True),
    )
    (first,) = maze_generator.generate_many(6, 1, seed=0)
    text = maze_text.format_maze(first.question)
    code, out, _ = run_trm(capsys, "solve", tmp_path / "w.safetensors", text, "--format", "json", "--views", 8)
    assert code == 1
    assert json.loads(out)[0]["puzzle"] == text
    lines = "\n".join(text[i : i + 6] for i in range(0, 36, 6))
    (tmp_path / "maze.txt").write_text(lines + "\n")
    code, out, _ = run_trm(capsys, "solve", tmp_path / "w.safetensors", tmp_path / "maze.txt")
    assert code == 1
    assert "the rules" in out
    # As many as a board has rows, and they are no grid, though spaces are cells.
    (tmp_path / "mazes.txt").write_text(f"{text}\n" * 6)
    code, out, _ = run_trm(capsys, "solve", tmp_path / "w.safetensors", tmp_path / "mazes.txt", "--format", "plain")
    assert code == 1
    assert [line[36:] for line in out.splitlines()] == ["\tbreaks the rules"] * 6
    command = ["solve", str(tmp_path / "w.safetensors"), text, "--views", "9"]
    check_mistake(capsys, command, "views: found 9, expected 1 to 8")
    bad = text.replace("S", " ")
    check_mistake(capsys, ["solve", str(tmp_path / "w.safetensors"), bad], "found 0 cells 'S' and 1 cells 'G'")


def test_dry_run_trains_nothing(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "tiny.toml").write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)})))
    code, out, _ = run_trm(capsys, "train", tmp_path / "tiny.toml", "-o", tmp_path / "run", "--dry-run", "--devices", 1)
    assert code == 0
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    # Attention, SwiGLU of width 256, embeddings and head of 6 tokens, the halting head. The puzzle table is apart.
    assert rows["parameters"] == f"{16 * 48 + 16 * 16 + 3 * 16 * 256 + 2 * 6 * 16 + 16 * 2 + 2:,}"
    assert rows["puzzle embeddings"] == "16"
    # 6 epochs of 20 puzzles, 8 a step; of each puzzle the original and 3 rearrangements are stored.
    assert rows["steps"] == "15"
    assert rows["examples"].startswith("120 of 80 stored, 20 an epoch")
    assert rows["memory, a step"].endswith(" MB per device")
    assert not (tmp_path / "run").exists()


WANDB = """
\"\"\"Stands in for the package wandb: writes what it is told to a file.\"\"\"
import json, pathlib
class Run:
    def log(self, values, step):
        with open("wandb.jsonl", "a") as file:
            print(json.dumps([step, values]), file=file)
    def finish(self, *arguments, **options):
        pass
def init(**options):
    pathlib.Path("wandb.json").write_text(json.dumps(options))
    return Run()
"""


@pytest.mark.slow
def test_metrics_go_to_wandb(
    puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """What metrics.jsonl holds is what wandb is told, step for step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    Path("tiny.toml").write_text(config_to_toml(tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 3})))
    code, _, err = run_trm(capsys, "train", "tiny.toml", "-o", "first", "--devices", 1, "--wandb", "puzzles")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert code == 0, err
    options = json.loads(Path("wandb.json").read_text())
    assert (options["project"], options["name"]) == ("puzzles", "first")
    assert options["config"]["model"]["hidden_size"] == 16
    told = [json.loads(line) for line in Path("wandb.jsonl").read_text().splitlines()]
    written = [json.loads(line) for line in Path("first/metrics.jsonl").read_text().splitlines()]
    assert [(step, values.get("train/lm_loss")) for step, values in told] == [
        (line["step"], line.get("train/lm_loss")) for line in written
    ]
    assert sum("all/exact_accuracy" in values for _, values in told) == 1


def test_wandb_that_is_not_installed(trained: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    command = ["train", str(trained.parent / "tiny.toml"), "-o", str(trained.parent / "new"), "--wandb", "puzzles"]
    check_mistake(capsys, command, "--wandb: the package wandb is missing, expected `pip install 'trm[wandb]'`")


@pytest.mark.slow
@pytest.mark.processes
def test_quickstart_from_start_to_end(tmp_path: Path):
    """The command, and the commands that it offers next."""
    # As a user runs it: on one device, with a compiler that optimises.
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=3"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "trm", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    out = run("quickstart")
    (solved,) = re.findall(r"Unseen puzzles solved exactly: ([\d.]+)%", out)
    assert float(solved) > 97
    solve, info, plan = re.findall(r"^  trm (.+)$", out, re.MULTILINE)
    question, answer = (
        np.array(list(board.replace(".", "0"))).astype(int).reshape(1, 6, 6)
        for board in (solve.split()[-1], run(*solve.split(), "--format", "plain").strip())
    )
    assert sudoku_rules.obeys_rules(question, answer).all()
    assert "forward_dtype" in run(*info.split())
    assert plan.startswith("train sudoku_mlp")


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
    wrong(
        "train",
        "sudoku_mlp",
        "--set",
        "data.path=nowhere",
        says="data.path: found no folder nowhere, expected a puzzle set (`trm data` builds one)",
    ),
    wrong("train", "{tiny}", "--devices", 99, says="--devices: found 99"),
    wrong(
        "train", "{tiny}", "--set", "train.global_batch_size=7", "--devices", 2, says="train.global_batch_size: found 7"
    ),
    wrong("train", "{tiny}", "-o", "{run}", says="already holds step_15.safetensors"),
    wrong("evaluate", "nowhere.safetensors", says="nowhere.safetensors: cannot read"),
    wrong("evaluate", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("evaluate", "{weights}", "--data", "nowhere", says="nowhere/test/dataset.json: cannot read"),
    wrong("evaluate", "{weights}", "--data", "{six}", says="vocab_size: found 8, expected 6"),
    wrong("solve", "{weights}", "12345", says="puzzle: found 5 cells, expected 16 (4x4)"),
    wrong("solve", "{weights}", "1..4..2..4....3q", says="cell 16 (row 4, column 4): found 'q', expected 1 to 4"),
    wrong(
        "solve",
        "{weights}",
        "." * 81,
        says="puzzle: found a 9x9 board at line 1, expected 4x4 (the model was trained on 4x4 boards)",
    ),
    wrong(
        "solve",
        "{weights}",
        "." * 16,
        "--no-check",
        "--rollouts",
        "2",
        says="rollouts: found 2 with noise 0, expected 1",
    ),
    wrong(
        "solve", "{weights}", "." * 16, "--no-check", "--noise-on", "both", says="noise_on: found 'both' with noise 0"
    ),
    wrong("solve", "{weights}", "." * 16, "--watch", "--views", 2, says="--watch: found together with --views"),
    wrong("solve", "{weights}", "{empty}", says="empty: found a folder, expected a puzzle or a file of them"),
    wrong("solve", "{weights}", "{weights}", says="weights.safetensors: cannot read: "),
    wrong("export", "{weights}", "--raw", "-o", "{empty}/x", says="found only the moving average"),
    wrong("export", "{weights}", "-o", "{empty}/" + "x" * 300, says="File name too long"),
    wrong("evaluate", "{weights}", "{weights}", says="expected each of them once"),
    wrong("evaluate", "{weights}", "--json", "{empty}", says="empty: cannot write: found a folder or a device"),
    wrong(
        "evaluate", "{weights}", "--json", "{weights}", says="found a checkpoint that is read, expected another file"
    ),
    wrong(
        "evaluate", "{weights}", "--json", "{empty}/x", "--answers", "{empty}/../empty/x", says="found it named twice"
    ),
    wrong(
        "evaluate", "sudoku", says="sudoku: was trained on data/sudoku-mix, which does not exist, expected --data DIR"
    ),
    wrong("import", ".", "--data", "{six}", "-o", "{empty}/x", says=".: "),
    wrong("solve", "{weights}", "nowhere/puzzles.txt", says="nowhere/puzzles.txt: no such file"),
    wrong("solve", "{tiny}", "1...", says="tiny.toml: not a whole safetensors file"),
    wrong("export", "nowhere.safetensors", "-o", "x", says="nowhere.safetensors: cannot read"),
    wrong("info", "nowhere", says="nowhere: no such configuration"),
    wrong("info", "{empty}", says="found neither train/ nor test/"),
    wrong("quickstart", "-o", "{run}", says="already holds a run"),
    wrong("quickstart", "-o", "{tiny}", says="found something else than a run"),
    wrong("export", "{weights}", "-o", "{tiny}/x", says="cannot write"),
    wrong("evaluate", "{weights}", "--json", "{tiny}/x", says="cannot write"),
    wrong("train", "{tiny}", "-o", "{tiny}/run", says="cannot write"),
    wrong("info", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("solve", "{cut}", says="cut.safetensors: not a whole safetensors file"),
    wrong("export", "{cut}", "-o", "{empty}/x", says="cut.safetensors: not a whole safetensors file"),
    wrong("info", "x" * 300, says=" no such configuration"),
    wrong("train", "sudoku_mlp", "--sett", "x", says="No such option: --sett"),
    wrong("solve", "{weights}", "." * 300, says="puzzle: found 300 cells"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], says: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    six = tmp_path / "six"
    if "{six}" in arguments:
        assert run_trm(capsys, "data", "sudoku", six, "--train", _bundled("train"), "--test", _bundled("test"))[0] == 0
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
    check_mistake(capsys, [argument.format(**names) for argument in arguments], says)
    assert sorted(p for p in trained.rglob("*")) == before
    assert list(empty.iterdir()) == []


def _bundled(split: str) -> Path:
    return bundled_csv(f"sudoku-6x6-{split}.csv.gz")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_error(redirection: str, tmp_path: Path):
    out = tmp_path / "puzzles.csv"
    command = f"{sys.executable} -m trm data generate {out} --count 2 --size 4 {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == redirection.startswith("2")
    assert len(out.read_text().splitlines()) == 3


def test_puzzles_from_a_named_pipe(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    puzzle = "3654.24...5..32.4..4..232....4.....5"
    solve = f"{sys.executable} -m trm solve sudoku-6x6 {{}} --format plain"
    command = f"(echo {puzzle} > {pipe} &); {solve.format(pipe)} && {solve.format(puzzle)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second
    assert len(first) == 36


def test_a_cell_after_a_dot_is_no_file_ending(capsys: pytest.CaptureFixture):
    says = "puzzle: cell 81 (row 9, column 9): found 'Z', expected 1 to 9"
    check_mistake(capsys, ["solve", "sudoku", "3" * 79 + ".Z"], says)


def test_a_closed_pipe_is_no_error(trained: Path):
    command = f"{sys.executable} -m trm info {trained / 'weights.safetensors'} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("full", [False, True], ids=["closed pipe", "full disk"])
def test_files_of_an_evaluation_whose_output_fails(full: bool, trained: Path, tmp_path: Path):
    checkpoints = [trained / "weights.safetensors", tmp_path / "other.safetensors"]
    checkpoints[1].write_bytes(checkpoints[0].read_bytes())
    command = [sys.executable, "-m", "trm", "evaluate", *checkpoints, "--json", tmp_path / "report.json"]
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") if full else os.fdopen(write, "w") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if full:
        os.close(write)
    assert done.returncode == (2 if full else 0), done.stderr
    assert len(json.loads((tmp_path / "report.json").read_text())) == len(checkpoints)


@pytest.mark.parametrize("full", [False, True], ids=["closed pipe", "full disk"])
def test_exit_codes_when_the_output_fails(full: bool):
    """That of the command at a closed pipe; one line on a full disk."""
    code = "import trm.cli.main as m; m.app = lambda **_: print('stopped') or 143; m.main()"
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") if full else os.fdopen(write, "w") as output:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, text=True, env=environment
        )
    if full:
        os.close(write)
    message = "error: standard output: cannot write: No space left on device\n"
    assert (done.returncode, done.stderr) == ((2, message) if full else (143, ""))
