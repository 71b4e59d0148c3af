"""The page of `trm plot`: the curves of runs, and a table of their last values. Entry: `make_page`.

The page is `curves.html` with the picture in it. It loads nothing.
"""

import html
import math
import re
from collections.abc import Sequence

from trm.show.curves import GRID, INK, Panel
from trm.show.html.page import fill


def make_page(svg: bytes, panels: Sequence[Panel], title: str) -> str:
    """Return a page with a picture, readable in light and dark, and a table of the last values."""
    drawing = svg.decode()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor").replace(GRID, "var(--grid)")
    # Without the picture's white background: the page has its own.
    drawing = re.sub(r"fill: (#ffffff|white)", "fill: none", drawing)
    rows = "".join(
        f"<tr><td>{html.escape(panel.title)}</td><td>{html.escape(line.label)}</td><td>{_number(line.mean[-1])}"
        + (f" ± {_number(line.half[-1])}" if math.isfinite(line.half[-1]) else "")
        + "</td></tr>\n"
        for panel in panels
        for line in panel.lines
    )
    return fill("curves.html", {"title": html.escape(title), "rows": rows, "drawing": drawing})


def _number(value: float) -> str:
    """Return a number with four decimals, or with four digits if it is small, as a learning rate is."""
    return f"{value:.4g}" if 0 < abs(value) < 0.1 else f"{value:.4f}"
