"""Tables on the terminal. Entries: `console`, `print_table`."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True, highlight=False)
_wide_console = Console(soft_wrap=True, highlight=False, width=240)
"""Wider than a terminal: long lines wrap there, and where there is none, nothing is cut."""


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    table = Table(box=None)
    for i, title in enumerate(titles):
        table.add_column(title, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    _wide_console.print(table)
