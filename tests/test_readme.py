"""Every command and every Python block in every README is run or parsed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from trm.cli.lazy import LazyCommand
from trm.cli.main import app

ROOT = Path(__file__).parent.parent
FOLDERS = ("trm", "configs", "scripts", "tests")
READMES = [ROOT / "README.md", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md"))]
WITH_PYTHON = [path for path in READMES if "```python" in path.read_text(encoding="utf-8")]
OTHERS = {"pip", "python3", ".", "python", "git", "bash", "ruff", "pyright", "pre-commit"}
"""Programs that are not ours."""
COMMAND: Any = typer.main.get_command(app)


def blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(readme: Path) -> list[list[str]]:
    """Return the words of every command in the shell blocks, of a line with && each."""
    lines = "\n".join(blocks(readme, "bash")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    found: list[list[str]] = []
    for words in split:
        command: list[str] = []
        for word in [*words, "&&"]:
            if word == "&&":
                found += [command] if command else []
                command = []
            else:
                command.append(word)
    return found


def parse_trm(arguments: list[str]) -> None:
    """Parse the arguments of `trm` down to the command, as a call would, without running it."""
    command, name, rest = COMMAND, "trm", list(arguments)
    parent = None
    while True:
        context = command.make_context(name, list(rest), parent=parent)
        if not hasattr(command, "resolve_command"):
            return
        name, command, rest = command.resolve_command(
            context, [*getattr(context, "_protected_args", []), *context.args]
        )
        assert command is not None, arguments
        parent = context


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_parse(readme: Path):
    for words in commands(readme):
        if words[0] == "trm":
            parse_trm(words[1:])
        elif words[:1] == ["python"] and len(words) > 1 and words[1].startswith("scripts/"):
            assert (ROOT / words[1]).exists(), words
        else:
            assert words[0] in OTHERS, words


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_exist(readme: Path):
    """`trm NAME --option` in a sentence: the command has that name, and that option."""
    for text in re.findall(r"`(trm [a-z][^`]*)`", readme.read_text(encoding="utf-8")):
        command, words = COMMAND, shlex.split(text)[1:]
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
            command = command.load() if isinstance(command, LazyCommand) else command
        assert command is not COMMAND, f"{readme}: {text}"
        options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        unknown = [word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word) and word not in options | {"--help"}]
        assert not unknown, f"{readme}: {text}: {unknown}"


@pytest.mark.slow
@pytest.mark.parametrize("readme", WITH_PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_run(readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The blocks of a README run one after another in one program; one that begins with `# NAME.py` is that file."""
    monkeypatch.chdir(tmp_path)
    program: list[str] = []
    for block in blocks(readme, "python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
        else:
            program.append(block)
    # In a process of its own: a user's program does not have these tests' settings.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
