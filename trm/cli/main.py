"""The command line: options in, calls of the library, results printed. Entry: `main`.

Exit codes: 0 success; 1 a run that failed, or puzzles that were not solved; 2 bad input; 128 + the signal's number for
a command that a signal stopped. A reader that closes the pipe early (`| head`) is no failure: 0.
"""

import os
import sys
from typing import Annotated, Any

import typer

import trm
from trm.cli.failures import failure_of
from trm.cli.lazy import MARKUP, LazyGroup
from trm.parallel.environment import settle_environment
from trm.show.console import print_lines, print_warning, printable, replace_characters

app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=MARKUP)


def main() -> None:
    """Run the command line. Bad input ends in one line and exit code 2, a failed run in one line and exit code 1."""
    _open_closed_output()
    replace_characters()
    code: Any = 0
    try:
        for line in settle_environment():
            print_warning(line)
        # Not standalone: typer would print usage errors in a box of several lines.
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        if message := error.format_message():
            _fail(message, code=2)
        sys.exit(2)  # No command was given: the help is on the screen.
    except typer.Abort:
        _fail("interrupted", code=130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(code if isinstance(code, int) else 0)
    except Exception as error:
        if failure := failure_of(error):
            _fail(*failure)
        raise
    else:
        sys.exit(code if isinstance(code, int) else 0)


_UsageError: Any = typer.BadParameter.__bases__[0]
"""Class of errors of wrong options and arguments; typer exports only a subclass of it by name."""


def _open_closed_output() -> None:
    """Open what the caller closed (`>&-`): the work of a command is worth more than its text."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def _drop_output() -> None:
    # Python would report the failure once more when it closes its output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: object, code: int) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # The message below, on standard error, tells of the failure.
        _drop_output()
    print("error: " + printable(" ".join(str(error).split("\n"))), file=sys.stderr)
    sys.exit(code)


def _print_version(wanted: bool) -> bool:
    if wanted:
        print_lines(f"trm {trm.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The Tiny Recursive Model: a tiny network that recurses on its own answer. Start with `trm quickstart`."""
