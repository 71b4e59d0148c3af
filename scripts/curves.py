"""Pictures of exact accuracy in training, drawn from the records. Entries: `python scripts/curves.py`, `draw`."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from records import Record, read_records
from starting import start
from tables.render import latest

from trm.storage.files import atomic_write

SCRIPTS = Path(__file__).resolve().parent
RECIPE_COLORS = {"plain": "#7a7a7a", "fast": "#c2410c"}
"""Colours of the recipes of `compare_recipes.py`."""
STATE_COLORS = {"plain": "#7a7a7a", "plain-fast": "#c2410c", "digits": "#1d4ed8"}
"""Colours of the recipes of `search_recipe.py` that are drawn."""
BOARDS = {"4x4": "4x4", "quickstart": "6x6", "sudoku-random": "9x9"}
"""Boards of the puzzle sets of `search_recipe.py`."""
WIDTH, HEIGHT, MARGIN = 260, 200, 46


class Curve(NamedTuple):
    """One run: exact accuracies over steps or time."""

    name: str
    points: list[tuple[float, float]]


class Panel(NamedTuple):
    """Runs on the same puzzles."""

    title: str
    unit: str
    curves: list[Curve]


def recipe_panels(records: Sequence[Record]) -> list[Panel]:
    """Return a panel for each board of `compare_recipes.py`."""
    boards: dict[str, list[Curve]] = {}
    for record in latest([r for r in records if r.benchmark == "recipes"]):
        points = [(step, accuracy) for step, accuracy in record.figures["evaluations"]]
        boards.setdefault(record.case["board"], []).append(Curve(record.case["recipe"], points))
    return [Panel(f"{board} Sudokus", "steps", curves) for board, curves in boards.items()]


def search_panels(records: Sequence[Record]) -> list[Panel]:
    """Return a panel for each puzzle set of `search_recipe.py`, with the core-time of a run."""
    panels = []
    found = latest([r for r in records if r.benchmark == "search" and r.case["recipe"] in STATE_COLORS])
    for data, board in BOARDS.items():
        of_data = [r for r in found if r.case["data"] == data]
        if of_data:
            hours = max(r.figures["core_seconds"] for r in of_data) > 1800
            unit, seconds = ("core-hours", 3600) if hours else ("core-seconds", 1)
            curves = [
                Curve(r.case["recipe"], [(time / seconds, accuracy) for _, time, accuracy in r.figures["curve"]])
                for r in of_data
            ]
            panels.append(Panel(f"{board} Sudokus", unit, curves))
    return panels


class Picture(NamedTuple):
    """A picture of a README."""

    panels: Callable[[Sequence[Record]], list[Panel]]
    colors: dict[str, str]


PICTURES = {
    "compare_recipes.svg": Picture(recipe_panels, RECIPE_COLORS),
    "search_recipe.svg": Picture(search_panels, STATE_COLORS),
}
"""By file name in scripts/."""


def main() -> None:
    """Draw the pictures of accuracy curves from scripts/results/*.jsonl."""
    records = read_records(SCRIPTS / "results")
    for name, picture in PICTURES.items():
        with atomic_write(SCRIPTS / name) as temporary:
            temporary.write_text(draw(picture.panels(records), picture.colors), encoding="utf-8")


def draw(panels: Sequence[Panel], colors: dict[str, str]) -> str:
    """Draw exact accuracy as an SVG, with a line for each run in the colour of its name."""
    width, height = MARGIN + len(panels) * (WIDTH + MARGIN), HEIGHT + 2 * MARGIN
    used = [name for name in colors if any(curve.name == name for panel in panels for curve in panel.curves)]
    # A letter of the legend takes at most nine units.
    starts = itertools.accumulate((9 * len(name) + 20 for name in used), initial=MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(_text(x, 18, name, fill=colors[name], font_weight="bold") for x, name in zip(starts, used, strict=False)),
    ]
    for i, panel in enumerate(panels):
        parts += _panel(panel, colors, MARGIN + i * (WIDTH + MARGIN), top=MARGIN)
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, colors: dict[str, str], left: float, top: float) -> list[str]:
    end = max(at for curve in panel.curves for at, _ in curve.points)

    def x(at: float) -> float:
        return left + WIDTH * at / end

    def y(accuracy: float) -> float:
        return top + HEIGHT * (1 - accuracy)

    parts = [_text(left + WIDTH / 2, top - 8, f"{panel.title}, exact accuracy", text_anchor="middle")]
    for accuracy in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line([(left, y(accuracy)), (left + WIDTH, y(accuracy))], stroke="#ddd"))
        parts.append(_text(left - 4, y(accuracy) + 4, f"{accuracy:.0%}", text_anchor="end"))
    for at in (0, end / 2, end):
        parts.append(_text(x(at), top + HEIGHT + 16, f"{at:,.3g}", text_anchor="middle"))
    parts.append(_text(left + WIDTH / 2, top + HEIGHT + 34, panel.unit, text_anchor="middle"))
    for curve in panel.curves:
        color = colors[curve.name]
        points = [(x(at), y(accuracy)) for at, accuracy in curve.points]
        parts.append(_line([(x(0), y(0)), *points], stroke=color, stroke_width="1.5"))
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{color}"/>' for px, py in points]
    return parts


def _line(points: Sequence[tuple[float, float]], **attributes: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" {_attributes(attributes)}/>'


def _text(x: float, y: float, text: str, **attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_attributes(attributes)}>{escape(text)}</text>'


def _attributes(attributes: dict[str, str]) -> str:
    return " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in attributes.items())


if __name__ == "__main__":
    start(main)
