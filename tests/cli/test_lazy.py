"""Commands that are imported when they are called: the list of commands agrees with them, and JAX is not imported."""

import subprocess
import sys

import pytest
from conftest import run_trm

from trm.cli.lazy import COMMANDS, LazyCommand


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str):
    target, line = COMMANDS[name]
    command = LazyCommand(name, target, line).load()
    assert command.name == name
    assert command.help.splitlines()[0] == line


@pytest.mark.processes
def test_help_imports_no_jax():
    code = (
        "import sys; sys.argv = ['trm', '--help']\n"
        "from trm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'numpy', 'equinox', 'optax', 'beartype'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture):
    code, out, _ = run_trm(capsys, "--help")
    assert code == 0
    for name in COMMANDS:
        assert f" {name} " in out


def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture):
    code, _, err = run_trm(capsys, "trian")
    assert (code, err) == (2, "error: No such command 'trian'. Did you mean 'train'?\n")
