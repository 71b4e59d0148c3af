"""The progress of attempts at puzzles, on a terminal. Entry: `show_attempts`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trm.solving.attempts import Attempted


@contextmanager
def show_attempts(puzzles: int) -> Iterator[Callable[[int, Attempted], None]]:
    """Show the number of solved puzzles on standard error, if that is a terminal; the bar disappears at the end."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("solving", total=puzzles)

        def update(limit: int, found: Attempted) -> None:
            description = f"solved, of {limit} attempts each" if limit > 1 else "solved"
            progress.update(task, completed=int(found.obeys.sum()), description=description)

        yield update
