"""How a script starts. Entry: `start`."""

import sys
from collections.abc import Callable

import typer

from trm.errors import InputError


def start(main: Callable[..., None]) -> None:
    """Run a function as a command: bad input ends with one line and exit code 2."""
    try:
        typer.run(main)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
