"""Charts as SVG in a page, coloured by its style sheet, and tables of the same numbers.

Entry: `line_chart`, `column_chart`, `heat_map`, `table`; `figure`, `section`.
"""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Real = float | int | np.floating
NONE = "-"
"""The text of a missing number."""
STEP = "supervision step"
WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 410, 12, 200
"""Edges of the plot area; labels are outside it."""


class Line(NamedTuple):
    """A line of a chart; its index among the lines determines colour and dashes."""

    name: str
    values: Sequence[Real]
    """NaN: no point."""
    band: tuple[Sequence[Real], Sequence[Real]] | None = None
    """Lower and upper ends of an interval at each point."""


class Axis(NamedTuple):
    """The vertical axis of a chart."""

    low: Real
    high: Real
    logarithmic: bool = False
    percent: bool = False

    def place(self, value: Real) -> float:
        """Return the height in the picture at which a value is drawn."""
        # Within the axis: 0 has no logarithm.
        value = min(max(value, self.low), self.high)
        low, high, value = (math.log10(v) if self.logarithmic else float(v) for v in (self.low, self.high, value))
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    def ticks(self) -> Sequence[Real]:
        """Return the values at which the axis is labelled."""
        if self.logarithmic:
            exponents = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**exponent for exponent in exponents][:: 1 if len(exponents) < 7 else 2]
        return [self.low + (self.high - self.low) * i / 4 for i in range(5)]

    def write(self, value: Real) -> str:
        """Return the text of a value, for the axis and the table."""
        if self.logarithmic and 0 < value < 0.001:
            return f"{value:.0e}".replace("e-0", "e-")
        return percent(value) if self.percent else number(value)


SHARES = Axis(0.0, 1.0, percent=True)


def fit_axis(values: Sequence[Real], logarithmic: bool = False, percent: bool = False) -> Axis:
    """Return an axis with room for positive values."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not logarithmic)] or [1.0]
    if logarithmic:
        low, high = (round_(math.log10(f(finite))) for round_, f in ((math.floor, min), (math.ceil, max)))
        return Axis(10.0**low, 10.0 ** max(high, low + 1), logarithmic=True)
    power = 10.0 ** math.floor(math.log10(max(finite)))
    top = next(power * m for m in (1, 2, 4, 6, 8, 10) if power * m >= max(finite) * 0.999)
    return Axis(0.0, top, percent=percent)


def line_chart(
    label: str,
    x_name: str,
    x: Sequence[Real],
    lines: Sequence[Line],
    axis: Axis,
    labels: Sequence[Real] | None = None,
) -> str:
    """Draw lines over x, with a legend above them where there are several; x is labelled at `labels`, or its values."""
    x = [float(value) for value in x]
    first, last = x[0], x[-1]
    places = [_across(value, first, last) for value in x]
    parts = _frame(label, x_name, axis)
    labels = x if labels is None else [float(value) for value in labels]
    for value in labels[:: max(1, math.ceil(len(labels) / 10))]:
        parts.append(_text(_across(value, first, last), BOTTOM + 16, number(value), "middle"))
    for i, line in enumerate(lines):
        if line.band:
            low, high = ([axis.place(v) for v in side] for side in line.band)
            points = [*zip(places, high, strict=True), *reversed(list(zip(places, low, strict=True)))]
            parts.append(f'<polygon class="s{i}" points="{_points(points)}"/>')
    for i, line in enumerate(lines):
        run: list[tuple[float, float]] = []
        for place, value in [*zip(places, line.values, strict=True), (0.0, math.nan)]:
            if math.isfinite(value):
                run.append((place, axis.place(value)))
            elif run:
                parts.append(f'<polyline class="s{i}" points="{_points(run)}"/>')
                run = []
        if len(x) <= 20:
            for at, place, value in zip(x, places, line.values, strict=True):
                if math.isfinite(value):
                    told = f"<title>{html.escape(line.name)}, {x_name} {number(at)}: {axis.write(value)}</title>"
                    parts.append(
                        f'<circle class="s{i}" cx="{place:.1f}" cy="{axis.place(value):.1f}" r="3">{told}</circle>'
                    )
    return legend([line.name for line in lines]) + "".join([*parts, "</svg>"])


def column_chart(label: str, x_name: str, edges: Sequence[str], groups: dict[str, Sequence[Real]], axis: Axis) -> str:
    """Draw columns between edges, those of several groups side by side."""
    bins = len(edges) - 1
    width = (RIGHT - LEFT) / bins
    parts = _frame(label, x_name, axis)
    every = max(1, math.ceil(len(edges) / 9))
    for i in range(0, len(edges), every):
        parts.append(_text(LEFT + width * i, BOTTOM + 16, edges[i], "middle"))
    wide = width * 0.86 / len(groups)
    for i, values in enumerate(groups.values()):
        for bin_, value in enumerate(values):
            left, top = LEFT + width * (bin_ + 0.07) + wide * i, axis.place(value)
            parts.append(
                f'<rect class="s{i}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{BOTTOM - top:.1f}"/>'
            )
    return legend(list(groups), columns=True) + "".join([*parts, "</svg>"])


def heat_map(
    label: str,
    values: Float[np.ndarray, "rows columns"],
    box: tuple[int, int] | None = None,
    mark: tuple[int, int] | None = None,
) -> str:
    """Draw values as the shade of the cells of a board, the largest strongest; `mark` frames a cell."""
    rows, columns = values.shape
    size = 120 / max(rows, columns)
    others = np.ones(values.shape, bool)
    if mark and values.size > 1:
        # The cell's own share would make the others too pale.
        others[mark] = False
    high = float(values[others].max()) or 1.0
    parts = [f'<svg class="heat" viewBox="-1 -1 {columns * size + 2:.1f} {rows * size + 2:.1f}" role="img"']
    parts.append(f' aria-label="{html.escape(label)}">')
    for row in range(rows):
        for column in range(columns):
            shade = min(max(float(values[row, column]) / high, 0.0), 1.0)
            parts.append(
                f'<rect x="{column * size:.1f}" y="{row * size:.1f}" width="{size:.2f}" height="{size:.2f}" '
                f'fill-opacity="{shade:.2f}"/>'
            )
    high_, wide = box or (rows, columns)
    for i in range(0, rows + 1, high_):
        parts.append(f'<path d="M0 {i * size:.1f}h{columns * size:.1f}"/>')
    for i in range(0, columns + 1, wide):
        parts.append(f'<path d="M{i * size:.1f} 0v{rows * size:.1f}"/>')
    if mark:
        parts.append(
            f'<rect class="mark" x="{mark[1] * size:.1f}" y="{mark[0] * size:.1f}" width="{size:.2f}" '
            f'height="{size:.2f}"/>'
        )
    return "".join([*parts, "</svg>"])


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column names the rows."""
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(title: str, sees: str, drawing: str, numbers: str = "") -> str:
    """Return a figure: its title, a sentence on what it shows, the drawing, and its numbers folded up."""
    details = f"<details><summary>Numbers</summary>{numbers}</details>" if numbers else ""
    return (
        f"<figure><figcaption><h3>{html.escape(title)}</h3><p>{html.escape(sees)}</p>"
        f"</figcaption><div>{drawing}{details}</div></figure>"
    )


def section(title: str, intro: str, figures: str) -> str:
    """Return a section of figures."""
    told = f"<p>{html.escape(intro)}</p>" if intro else ""
    return f"<section><h2>{html.escape(title)}</h2>{told}<div class=figures>{figures}</div></section>"


def legend(names: Sequence[str], columns: bool = False) -> str:
    """Return the names of lines or columns with their colours; empty for a single one."""
    if len(names) < 2:
        return ""
    shape = (
        '<rect class="s{}" width="8" height="8" x="18"/>' if columns else '<polyline class="s{}" points="1,4 25,4"/>'
    )
    items = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true">{shape.format(i)}</svg>{html.escape(name)}</li>'
        for i, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def percent(share: Real) -> str:
    """Return a share in percent with one decimal, or none if it is whole."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def count(how_many: int, thing: str) -> str:
    """Return a number of things as text."""
    return f"{how_many:,} {thing}{'' if how_many == 1 else 's'}"


def number(value: Real) -> str:
    """Return a number with three digits as text."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _frame(label: str, x_name: str, axis: Axis) -> list[str]:
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">']
    for tick in axis.ticks():
        height = axis.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {height:.1f}H{RIGHT}"/>')
        parts.append(_text(LEFT - 6, height + 4, axis.write(tick), "end"))
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 6, x_name, "middle"))
    return parts


def _across(value: Real, first: Real, last: Real) -> float:
    return LEFT + 8 + (RIGHT - LEFT - 16) * (0.5 if first == last else float((value - first) / (last - first)))


def _text(x: Real, y: Real, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
