"""The section on convergence: distances between steps, and how well they predict right answers.

Entry: `convergence_section`.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from trm.evaluation.inspection import Inspection
from trm.evaluation.measures import area_under_curve
from trm.show.inspection.charts import (
    NONE,
    STEP,
    Line,
    column_chart,
    figure,
    fit_axis,
    line_chart,
    number,
    percent,
    section,
    table,
)


def convergence_section(found: Inspection) -> str:
    """Draw sizes of the latents, distances between steps, and the last distance against correctness."""
    steps = len(found.exact)
    x, exact = range(1, steps + 1), found.exact[-1]
    by_latent = {name: np.median(values, axis=1) for name, values in found.record.distances.items()}
    answer = found.record.distances[found.answer_latent]
    moves = by_latent[found.answer_latent]
    # The first step moves from the start, which is far from any answer.
    first = 2 if steps > 2 else 1
    sees = f"In the last step the median distance of {found.answer_latent} is {percent(moves[-1])} of its size"
    if steps > first:
        shrink = float(moves[-1] / max(moves[first - 1], 1e-12))
        verdict = "it converges" if shrink < 0.5 else "it does not converge"
        sees += f", {number(shrink)} times that in step {first}: {verdict}"
    sees += "."
    axis = fit_axis([v for values in by_latent.values() for v in values.tolist()], logarithmic=True)
    lines = [Line(name, values.tolist()) for name, values in by_latent.items()]
    drawing = line_chart("Distance between successive steps", STEP, x, lines, axis)
    rows = [(str(s), *(number(values[s - 1]) for values in by_latent.values())) for s in x]
    parts = [figure("Distance between steps", sees, drawing, table("Median distance", ("step", *by_latent), rows))]

    groups = {"ends right": exact, "ends wrong": ~exact}
    halves = {name: [_median(answer[s, of]) for s in range(steps)] for name, of in groups.items() if of.any()}
    areas = [area_under_curve(-answer[s, exact], -answer[s, ~exact]) for s in range(steps)]
    last = areas[-1]
    if last is None:
        sees = f"All {len(exact)} answers end {'right' if exact.any() else 'wrong'}, so that nothing can be compared."
    else:
        sees = (
            f"A right answer has the smaller last distance than a wrong one in {percent(last)} of all pairs (AUC "
            f"{last:.3f}; q_halt: {_auc(found.record.q_halt[-1], exact):.3f}): the distance {_separates(last)}."
        )
    axis = fit_axis([v for values in halves.values() for v in values], logarithmic=True)
    lines = [Line(f"{name} ({int(groups[name].sum())})", values) for name, values in halves.items()]
    drawing = line_chart(f"Median distance of {found.answer_latent}, right and wrong", STEP, x, lines, axis)
    rows = [
        (str(s), *(number(v[s - 1]) for v in halves.values()), NONE if areas[s - 1] is None else f"{areas[s - 1]:.3f}")
        for s in x
    ]
    numbers = table(f"Median distance of {found.answer_latent}", ("step", *halves, "AUC"), rows)
    parts.append(figure("Residual against correctness", sees, drawing, numbers))
    parts.append(_histogram(answer[-1], groups))

    sizes = {name: values.mean(axis=1) for name, values in found.record.sizes.items()}
    constant = all(np.ptp(values[1:]) < 0.01 for values in sizes.values())
    sees = (
        "Every update ends in a norm, so each latent has the same size after every step: only its direction changes."
        if constant
        else "The size of the latents changes from step to step."
    )
    lines = [Line(name, values.tolist()) for name, values in sizes.items()]
    axis = fit_axis([v for values in sizes.values() for v in values.tolist()])
    drawing = line_chart("Root mean square of the latents", STEP + " (0: the start)", range(steps + 1), lines, axis)
    rows = [(str(s), *(number(values[s]) for values in sizes.values())) for s in range(steps + 1)]
    parts.append(figure("Size of the latents", sees, drawing, table("Root mean square", ("step", *sizes), rows)))
    intro = (
        "The distance of a step is the root mean square of the change of a latent, as a share of the root mean square "
        "of the latent. Where it goes to zero, the latent has reached a fixed point."
    )
    return section("Does it converge?", intro, "".join(parts))


def _histogram(distance: Float[np.ndarray, " puzzles"], groups: dict[str, Bool[np.ndarray, " puzzles"]]) -> str:
    logarithms = np.log10(np.maximum(distance, 1e-6))
    edges = np.linspace(logarithms.min(), max(logarithms.max(), logarithms.min() + 0.1), 13)
    counts = {name: np.histogram(logarithms[of], edges)[0] for name, of in groups.items() if of.any()}
    shares = {f"{name} ({int(c.sum())})": (c / c.sum()).tolist() for name, c in counts.items()}
    names = [f"{10**edge:.1g}" for edge in edges]
    middle = {name: _median(distance[of]) for name, of in groups.items() if of.any()}
    told = " and ".join(
        f"{number(value)} of answers that {name.replace('ends', 'end')}" for name, value in middle.items()
    )
    drawing = column_chart(
        "Last distance, right and wrong",
        "distance in the last step",
        names,
        shares,
        fit_axis([v for of in shares.values() for v in of], percent=True),
    )
    rows = [(f"{a} to {b}", *(str(c[i]) for c in counts.values())) for i, (a, b) in enumerate(pairwise(names))]
    numbers = table("Puzzles by their last distance", ("distance", *counts), rows)
    return figure(
        "The last distance",
        f"The median last distance is {told}; each group's columns add up to 100 %.",
        drawing,
        numbers,
    )


def _separates(area: float) -> str:
    if area > 0.8:
        return "separates them without the head"
    return "hardly separates them" if area < 0.65 else "separates them to some degree"


def _auc(values: Float[np.ndarray, " puzzles"], right: Bool[np.ndarray, " puzzles"]) -> float:
    return area_under_curve(values[right], values[~right]) or 0.0


def _median(values: Float[np.ndarray, " values"]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
