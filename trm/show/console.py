"""The console that commands print to."""

from typing import Any

from rich.console import Console
from rich.table import Table


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `main` decides, as it does when `print` finds the pipe closed.


console = _Console()


def print_lines(text: str) -> None:
    """Print text as it is: nothing in it is markup, no line is broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_rows(rows: dict[str, Any]) -> None:
    """Print names and values in two columns."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table, highlight=False, markup=False)
