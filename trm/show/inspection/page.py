"""The page of an inspection: figures, tables and the player, in one self-contained file. Entry: `make_page`."""

import html
from collections.abc import Sequence
from importlib.resources import files

from trm.evaluation.inspection import Inspection
from trm.evaluation.measures import area_under_curve, calibrate
from trm.evaluation.report import wilson_interval
from trm.puzzles.kinds.kind import Picture
from trm.show.html.page import insert
from trm.show.html.player import make_player
from trm.show.inspection.charts import NONE, number, percent
from trm.show.inspection.convergence import convergence_section
from trm.show.inspection.mixing import mixing_section
from trm.show.inspection.sections import (
    accuracy_section,
    calibration_section,
    cycles_section,
    halting_section,
)
from trm.solving.attempt_traces import PuzzleTrace


def make_page(
    title: str,
    description: str,
    picture: Picture,
    inspection: Inspection,
    hardest: Sequence[int],
    traces: Sequence[PuzzleTrace],
) -> str:
    """Return the page; `traces` are those of the puzzles `hardest`, which are indices in the inspection."""
    parts = [
        f"<header><h1>{html.escape(title)}</h1><p class=quiet>{html.escape(description)}</p></header><main>",
        _facts(inspection),
        accuracy_section(inspection),
        halting_section(inspection),
        convergence_section(inspection),
        cycles_section(inspection),
        mixing_section(inspection, picture),
        calibration_section(inspection),
        _players(picture, inspection, hardest, traces),
        "</main>",
    ]
    marks = {"title": html.escape(title), "style": _read("report.css"), "body": "\n".join(parts)}
    return insert(_read("report.html"), marks)


def _read(name: str) -> str:
    return files("trm.show.inspection").joinpath(name).read_text(encoding="utf-8")


def _facts(found: Inspection) -> str:
    exact, stopped = found.exact, found.stopped
    steps, puzzles = exact.shape
    low, high = wilson_interval(float(exact[-1].mean()), puzzles)
    last = found.record.distances[found.answer_latent][-1]
    area = area_under_curve(-last[exact[-1]], -last[~exact[-1]])
    error = calibrate(found.record.q_halt[-1], exact[-1]).expected_error
    facts = [
        (percent(exact[-1].mean()), f"exact after step {steps} ({percent(low)} to {percent(high)})"),
        (percent(stopped.exact.mean()), "exact where the halting head stops"),
        (number(stopped.steps.mean()), f"steps of {steps} until it stops, on average"),
        (
            NONE if area is None else f"{area:.2f}",
            "AUC: a right answer has a smaller last distance than a wrong one"
            if area is not None
            else "AUC: all answers are right, or all are wrong",
        ),
        (f"{error:.3f}", "expected calibration error of q_halt"),
    ]
    return (
        "<ul class=facts>"
        + "".join(f"<li><strong>{html.escape(value)}</strong>{html.escape(name)}</li>" for value, name in facts)
        + "</ul>"
    )


def _players(picture: Picture, found: Inspection, hardest: Sequence[int], traces: Sequence[PuzzleTrace]) -> str:
    names = []
    for index in hardest:
        right = found.exact[:, index]
        cells = percent(1 - found.accuracy[-1, index])
        end = "solved at the end" if right[-1] else f"{cells} of its cells wrong at the end"
        names.append(f"Puzzle {found.examples[index]}: {end}, wrong after {int((~right).sum())} of {len(right)} steps")
    page = make_player("Reasoning about the hardest puzzles", picture, names, traces)
    return (
        "<section><h2>The hardest puzzles</h2><p>First those that end wrong, then those that were wrong after most "
        "steps. The player shows the true answer beside the network's, after every step and H cycle. Puzzles have the "
        'numbers of their set.</p><iframe title="Player of the hardest puzzles" '
        f'srcdoc="{html.escape(page)}"></iframe></section>'
    )
