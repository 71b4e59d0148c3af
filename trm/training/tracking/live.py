"""The live view of a run on a terminal: a few lines below the printed ones, redrawn every second.

Entry: `LiveView`. A thread draws; the training loop waits for the terminal only when it prints a line.
"""

from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from trm.training.tracking.shown import Shown

REFRESHES_PER_SECOND = 1
BAR_WIDTH = 28
NARROW = 60
"""Columns below which the bar is left out."""


def is_possible(console: Console) -> bool:
    """Return whether a terminal can show the view, and its user has not asked for plain text (NO_COLOR, TERM=dumb)."""
    return console.is_terminal and console.is_interactive and not console.is_dumb_terminal and not console.no_color


class RunView:
    """The lines of the view, as a renderable of rich."""

    def __init__(self, name: str, shown: Shown):
        self._name, self._shown = name, shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        shown = self._shown
        share = shown.step / max(1, shown.steps)
        head = Table.grid(padding=(0, 2))
        cells: list[Text | ProgressBar] = [Text(self._name, "bold", no_wrap=True, overflow="ellipsis")]
        if options.max_width >= NARROW:
            cells.append(
                ProgressBar(shown.steps, shown.step, width=BAR_WIDTH, complete_style="cyan", finished_style="cyan")
            )
        left = shown.doing or (f"{shown.time_left} left" if shown.time_left and share < 1 else "")
        for text in (f"{shown.step:,} / {shown.steps:,}", f"{share:.0%}", left):
            cells.append(Text(text, no_wrap=True, overflow="ellipsis"))
        head.add_row(*cells)
        yield head
        for name, parts in shown.rows():
            # A row without values keeps its place, so that the view does not jump.
            yield Text.assemble((f"{name:<9}", "dim"), "   ".join(parts) or "-", no_wrap=True, overflow="ellipsis")


class LiveView:
    """Draws the view while a run goes on."""

    def __init__(self, console: Console, name: str, shown: Shown):
        self._console, self._view = console, RunView(name, shown)
        self._drawn: tuple[int, list[int]] | None = None
        """Columns of the terminal at the last drawing, and the width of each line."""
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=REFRESHES_PER_SECOND, transient=False
        )
        self._live.start(refresh=True)
        # A program that is killed or suspended cannot bring a hidden cursor back.
        console.show_cursor(True)

    def _draw(self) -> SegmentLines:
        """Return the lines of the view; if the terminal became narrower, first move up to where the last ones begin."""
        width = self._console.width
        if self._drawn and width < self._drawn[0]:
            # The terminal has wrapped the longer lines; rich moves up by as many lines as it has printed.
            more = sum((length - 1) // width for length in self._drawn[1] if length > width)
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(*(up * more)))
        lines = self._console.render_lines(self._view, pad=False)
        self._drawn = width, [Segment.get_line_length(line) for line in lines]
        return SegmentLines(lines, new_lines=True)

    def above(self, print: Callable[[], None]) -> None:
        """Print something above the view."""
        self._live.refresh()
        print()

    def close(self) -> None:
        """Draw a last time and restore the terminal."""
        self._live.stop()
