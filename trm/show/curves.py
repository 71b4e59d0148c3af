"""Curves of runs: loss and accuracy over steps, puzzles or hours; seeds of one experiment as mean and band.

Entry: `make_panels` chooses the lines, `draw` draws them with matplotlib (extra `plot`).
"""

import io
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from trm.errors import InputError
from trm.training.seeds import experiment_of, mean_interval
from trm.training.tracking.history import Curve, History

Unit = Literal["steps", "puzzles", "hours"]
UNITS = {"steps": "training steps", "puzzles": "sequences trained on", "hours": "hours"}

MOST_POINTS = 100
"""Maximum number of points of a line. With more training steps, each point is the mean of several."""
COLORS = "#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9".split()
"""Colours that are distinct with any colour vision (Okabe and Ito, 2008)."""
DASHES = ("-", "--", ":", "-.")
"""Line styles; the next one is used when the colours are used up."""
WHERE = {"train": "training", "": "evaluations"}
INK, GRID = "#23272e", "#d4d6da"
PANEL_INCHES = 4.8, 3.4
LABEL_POINTS, LABEL_CHARACTERS = 9.0, 28


class Line(NamedTuple):
    """A line: one run, or the mean of several runs that are seeds of one experiment."""

    label: str
    x: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    half: Float[np.ndarray, " points"]
    """Half the width of the 95 % interval of the mean; NaN for one run."""
    place: int
    """Index of the experiment, which determines colour and dashes."""


class Panel(NamedTuple):
    """One plot with its axes."""

    title: str
    lines: list[Line]


def make_panels(runs: Sequence[History], metrics: Sequence[str] = (), unit: Unit = "steps") -> list[Panel]:
    """Return the panels of some runs.

    A metric is a full name such as `train/lr`, or one such as `accuracy`, which is drawn both for training and for
    evaluations. The default is the loss and exact accuracy. Raises InputError for a metric that no run has.
    """
    groups = _groups(runs)
    panels = []
    for metric in metrics or ("train/lm_loss", "exact_accuracy"):
        wanted = [metric] if "/" in metric else [f"train/{metric}", metric]
        made = [Panel(_title(name), list(_lines(groups, name, unit))) for name in wanted]
        if not any(panel.lines for panel in made):
            names = sorted({name for run in runs for name in run.curves})
            raise InputError(f"{runs[0].path}: found no metric {metric!r}, expected one of {', '.join(names)}")
        panels += [panel for panel in made if panel.lines]
    return panels


def _groups(runs: Sequence[History]) -> list[tuple[str, list[History]]]:
    """Return the runs of each experiment, with a label."""
    groups: list[list[History]] = []
    for run in runs:
        for group in groups:
            if experiment_of(group[0].config) == experiment_of(run.config):
                group.append(run)
                break
        else:
            groups.append([run])
    names = [_name([run.path.absolute().as_posix() for run in group]) for group in groups]
    if len(set(names)) < len(names):
        names = [os.path.commonpath([run.path.absolute() for run in group]) for group in groups]
    return list(zip(names, groups, strict=True))


def _name(paths: Sequence[str]) -> str:
    """Return the name of a run; for several, the common beginning of their names, or the folder that they are in."""
    names = [path.rpartition("/")[2] for path in paths]
    if len(paths) == 1:
        return names[0]
    same = [
        letters[0] for letters in itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    ]
    common = re.sub(r"[-_. ]*(seed|run)?[-_. =]*\d*$", "", "".join(same))
    return common or os.path.commonpath(paths).rpartition("/")[2]


def _title(metric: str) -> str:
    where, _, name = metric.rpartition("/")
    name = {"lm_loss": "loss of tokens", "lr": "learning rate"}.get(name, name).replace("_", " ")
    return f"{name}, {WHERE.get(where, where)}"


def _lines(groups: Sequence[tuple[str, list[History]]], metric: str, unit: Unit) -> Iterator[Line]:
    for place, (label, runs) in enumerate(groups):
        if "/" in metric:
            names = [metric]
        else:
            names = list(dict.fromkeys(name for run in runs for name in run.evaluations(metric)))
        for name in names:
            curves = [(run, run.curves[name]) for run in runs if name in run.curves]
            if not curves:
                continue
            width = _width([curve for _, curve in curves])
            # A run that has just begun has no step in common with the others.
            curves = [(run, curve) for run, curve in curves if curve.steps[-1] >= width]
            of_set = name.removesuffix(f"/{metric}")
            more = (f" {of_set}" if len(names) > 1 else "") + (f", {len(curves)} seeds" if len(curves) > 1 else "")
            line = _line(label + more, curves, width, unit, place)
            if len(line.x):
                yield line


def _width(curves: Sequence[Curve]) -> int:
    """Return the number of steps for each point, the same for all curves of a mean."""
    many = max(len(curve.steps) for curve in curves) > MOST_POINTS
    return math.ceil(max(int(curve.steps[-1]) for curve in curves) / MOST_POINTS) if many else 1


def _line(label: str, curves: Sequence[tuple[History, Curve]], width: int, unit: Unit, place: int) -> Line:
    """Return the mean over runs at the steps that all of them have."""
    pieces = [_in_pieces(curve, width) for _, curve in curves]
    steps = sorted(set.intersection(*(set(piece) for piece in pieces)))
    values = np.array([[piece[step] for step in steps] for piece in pieces])
    x = np.array([run.at(np.array(steps, np.int64), unit) for run, _ in curves]).mean(axis=0)
    return Line(label, x, *mean_interval(values), place)


def _in_pieces(curve: Curve, width: int) -> dict[int, float]:
    """Return values by step: each is the mean over the `width` steps up to that one."""
    last = int(curve.steps[-1])
    pieces: dict[int, list[float]] = {}
    for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
        pieces.setdefault(math.ceil(step / width) * width, []).append(value)
    return {min(step, last): sum(values) / len(values) for step, values in pieces.items()}


def draw(panels: Sequence[Panel], unit: Unit, ending: str) -> bytes:
    """Return a picture as SVG or PNG, by the ending of its name. Raises InputError when matplotlib is missing."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("the package matplotlib is missing, expected `pip install 'trm[plot]'`") from error
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "trm",
        "font.size": 10,
        "font.family": "sans-serif",
    }
    style |= {"font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"], "axes.unicode_minus": False}
    style |= {key: INK for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")}
    with matplotlib.rc_context(style):
        last = float(max(line.x[-1] for panel in panels for line in panel.lines))
        columns = 2 if len(panels) == 4 else min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows))
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.remove()
        for panel, ax in zip(panels, axes, strict=False):
            _draw_panel(panel, unit, last, ax)
        figure.draw_without_rendering()
        for panel, ax in zip(panels, axes, strict=False):
            _label(panel, ax)
        file = io.BytesIO()
        options: dict[str, Any] = {"metadata": {"Date": None}} if ending == ".svg" else {"dpi": 160}
        figure.savefig(file, format=ending.removeprefix("."), facecolor="white", **options)
    return file.getvalue()


def _draw_panel(panel: Panel, unit: Unit, last: float, ax: Any) -> None:
    ax.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    ax.set_xlabel(UNITS[unit])
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    for line in panel.lines:
        color, dashes = _look(line.place)
        points = {"marker": "o", "markersize": 4} if len(line.x) <= 12 else {}
        ax.plot(line.x, line.mean, dashes, color=color, linewidth=1.8, **points)
        if np.isfinite(line.half).any():
            low, high = line.mean - line.half, line.mean + line.half
            ax.fill_between(line.x, low, high, color=color, alpha=0.18, linewidth=0)
    values = np.concatenate([line.mean for line in panel.lines])
    positive = values[values > 0]
    if "loss" in panel.title and len(positive) == len(values) and positive.max() > 10 * positive.min():
        # The band of a small mean may reach below zero, which a logarithmic axis cannot show.
        ax.set_yscale("log")
        ax.set_ylim(positive.min() / 1.5, positive.max() * 1.5)
    elif "accuracy" in panel.title:
        ax.set_ylim(0, min(1.02, max(0.05, 1.15 * values.max())))
    ax.set_xlim(0, last or 1)


def _look(place: int) -> tuple[str, str]:
    return COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)]


def _label(panel: Panel, ax: Any) -> None:
    """Write the name of each line to the right, at the height of its end, without overlaps."""
    scale = ax.figure.dpi / 72
    lines = sorted(panel.lines, key=lambda line: line.mean[-1])
    ends = [ax.transData.transform((line.x[-1], line.mean[-1]))[1] / scale for line in lines]
    box = ax.get_window_extent()
    heights = _spread(ends, LABEL_POINTS * 1.25, box.y0 / scale, box.y1 / scale)
    for line, end, height in zip(lines, ends, heights, strict=True):
        label = line.label
        if len(label) > LABEL_CHARACTERS:
            label = label[: LABEL_CHARACTERS // 2 - 1] + "…" + label[-LABEL_CHARACTERS // 2 :]
        ax.annotate(
            label,
            (1, line.mean[-1]),
            xycoords=ax.get_yaxis_transform(),
            xytext=(6, height - end),
            textcoords="offset points",
            color=_look(line.place)[0],
            fontsize=LABEL_POINTS,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def _spread(places: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Move sorted heights upward until they are `distance` apart, then down from the upper limit."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, low, moved[-1] + distance if moved else low))
    limit = high
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - distance
    return moved
