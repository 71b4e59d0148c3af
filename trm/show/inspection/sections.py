"""Sections of the page of an inspection: accuracy, halting, cycles, calibration.

Entry: `accuracy_section`, `halting_section`, `cycles_section`, `calibration_section`.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from trm.evaluation.inspection import Inspection
from trm.evaluation.measures import calibrate
from trm.evaluation.report import wilson_interval
from trm.show.inspection.charts import (
    NONE,
    SHARES,
    STEP,
    Line,
    column_chart,
    count,
    figure,
    line_chart,
    number,
    percent,
    section,
    table,
)

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def accuracy_section(found: Inspection) -> str:
    """Draw exact and cell accuracy after every supervision step."""
    exact, cells = found.exact.mean(axis=1), found.accuracy.mean(axis=1)
    steps, puzzles = found.exact.shape
    ends = [wilson_interval(float(share), puzzles) for share in exact]
    low, high = ([end[i] for end in ends] for i in (0, 1))
    x = range(1, steps + 1)
    enough = settled_from(exact, low[-1], high[-1])
    lost = int((found.exact.any(axis=0) & ~found.exact[-1]).sum())
    sees = (
        f"Exact accuracy is {percent(exact[0])} after step 1 and {percent(exact[-1])} after step {steps}; from "
        f"step {enough} on it is within the last step's 95 % interval (shaded). "
        + (f"{count(lost, 'puzzle')} had been right and ended wrong." if lost else "No right answer became wrong.")
    )
    lines = [Line("exact: all cells right", exact.tolist(), (low, high)), Line("cells right", cells.tolist())]
    drawing = line_chart("Accuracy after every supervision step", STEP, x, lines, SHARES)
    rows = [
        (
            str(step),
            percent(exact[step - 1]),
            f"{percent(low[step - 1])} to {percent(high[step - 1])}",
            percent(cells[step - 1]),
        )
        for step in x
    ]
    numbers = table("Accuracy after every supervision step", ("step", "exact", "95 % interval", "cells"), rows)
    return section("Accuracy after every step", "", figure("Right answers by step", sees, drawing, numbers))


def settled_from(shares: Float[np.ndarray, " steps"], low: float, high: float) -> int:
    """Return the first step, from 1, at which and after which all shares are between two bounds."""
    outside = np.flatnonzero((shares < low) | (shares > high))
    return int(outside[-1]) + 2 if len(outside) else 1


def halting_section(found: Inspection) -> str:
    """Draw where halting stops the puzzles, and what other thresholds would do."""
    steps = len(found.exact)
    x = range(1, steps + 1)
    stopped = found.stopped
    never = int((~found.record.halts.any(axis=0)).sum())
    here = [(stopped.steps == step) & (found.record.halts.any(axis=0) | (step < steps)) for step in x]
    shares = [float(of.mean()) for of in here]
    right = [float(stopped.exact[of].mean()) if of.any() else float("nan") for of in here]
    saved = 1 - stopped.steps.mean() / steps
    sees = (
        f"The halting head stops after {number(stopped.steps.mean())} of {steps} steps on average and saves "
        f"{percent(saved)} of them; {percent(stopped.exact.mean())} of the answers there are right, "
        f"{percent(found.exact[-1].mean())} after all steps. It never stops {count(never, 'puzzle')}."
    )
    drawing = line_chart(
        "Share of puzzles halted so far, and how many of those that stop at a step are right",
        STEP,
        x,
        [Line("halted so far", np.cumsum(shares).tolist()), Line("right, of those that stop here", right)],
        SHARES,
    )
    rows = [
        (str(step), str(int(of.sum())), percent(so_far), NONE if np.isnan(ok) else percent(ok))
        for step, of, so_far, ok in zip(x, here, np.cumsum(shares), right, strict=True)
    ]
    rows.append(("never", str(never), "", _share(stopped.exact[~found.record.halts.any(axis=0)])))
    numbers = table("Where halting stops", ("step", "puzzles that stop", "halted so far", "right of them"), rows)
    first = figure("Where halting would stop", sees, drawing, numbers)

    others = [(threshold, found.stopped_at(threshold)) for threshold in THRESHOLDS]
    best = max(others, key=lambda pair: (round(float(pair[1].exact.mean()), 6), -pair[1].steps.mean()))
    sees = (
        f"Of these thresholds of q_halt, {best[0]:g} gives the most right answers, {percent(best[1].exact.mean())} in "
        f"{number(best[1].steps.mean())} steps: a lower one stops earlier, a higher one later."
    )
    drawing = line_chart(
        "Accuracy against steps for several thresholds",
        "threshold of q_halt",
        THRESHOLDS,
        [
            Line("right where it stops", [float(of.exact.mean()) for _, of in others]),
            Line("steps saved", [float(1 - of.steps.mean() / steps) for _, of in others]),
        ],
        SHARES,
        labels=(0.1, 0.3, 0.5, 0.7, 0.9),
    )
    rows = [
        (f"{t:g}", percent(of.exact.mean()), number(of.steps.mean()), percent(1 - of.steps.mean() / steps))
        for t, of in others
    ]
    numbers = table("Thresholds", ("threshold", "right", "mean steps", "steps saved"), rows)
    rule = "The head halts when sigmoid(q_halt), its probability that all cells are right, exceeds 0.5."
    if not np.array_equal(found.record.halts, found.record.q_halt > 0.5):
        rule = "The head halts when q_halt exceeds q_continue; the other thresholds are on q_halt alone."
    return section("Where halting would stop", rule, first + figure("Other thresholds", sees, drawing, numbers))


def cycles_section(found: Inspection) -> str:
    """Draw the accuracy of the answer latent after every cycle, and of the other latents."""
    steps, puzzles, high, low = found.cycles.exact.shape
    exact, cells = (of.mean(axis=1).ravel() for of in (found.cycles.exact, found.cycles.accuracy))
    x = [(i + 1) / (high * low) for i in range(len(exact))]
    parts = []
    if high * low > 1:
        per_step = found.cycles.exact.mean(axis=1)
        begin, end = cells[0], cells[high * low - 1]
        sees = (
            f"In step 1 the share of right cells goes from {percent(begin)} after the first L cycle to "
            f"{percent(end)} after the last H cycle ({count(puzzles, 'puzzle')})."
        )
        lines = [Line("exact: all cells right", exact.tolist()), Line("cells right", cells.tolist())]
        drawing = line_chart("Accuracy after every L cycle", STEP, x, lines, SHARES, labels=range(1, steps + 1))
        head = ("step", *(f"H{h + 1} L{i + 1}" for h in range(high) for i in range(low)))
        rows = [(str(s + 1), *(percent(v) for v in per_step[s].ravel())) for s in range(steps)]
        numbers = table("Exact accuracy, by step and cycle", head, rows)
        parts.append(figure("The answer after every cycle", sees, drawing, numbers))
    if found.record.read_accuracy:
        read = {name: values.mean(axis=1) for name, values in found.record.read_accuracy.items()}
        answer = found.accuracy.mean(axis=1)
        best = max(read, key=lambda name: read[name][-1])
        sees = (
            f"Decoded by the same head, {best} has {percent(read[best][-1])} of the cells right after the last step, "
            f"and {found.answer_latent} has {percent(answer[-1])}: "
            + (
                f"{best} holds the answer in nearly the same form."
                if read[best][-1] > 0.8 * answer[-1]
                else f"{best} does not hold the answer in the same form."
            )
        )
        lines = [Line(f"{found.answer_latent} (the answer)", answer.tolist())]
        lines += [Line(name, values.tolist()) for name, values in read.items()]
        drawing = line_chart("Cells right when the head decodes each latent", STEP, range(1, steps + 1), lines, SHARES)
        rows = [(str(s + 1), percent(answer[s]), *(percent(v[s]) for v in read.values())) for s in range(steps)]
        numbers = table("Cells right", ("step", found.answer_latent, *read), rows)
        parts.append(figure("The other latents, decoded", sees, drawing, numbers))
    if not parts:
        return ""
    intro = "The L cycles do not change the answer latent. After an L cycle its answer is that of an extra update."
    return section("Inside a step", intro, "".join(parts))


def calibration_section(found: Inspection) -> str:
    """Draw reliability diagrams of q_halt."""
    steps = len(found.exact)
    parts = []
    for name, q_halt, exact in (
        (f"After step {steps}", found.record.q_halt[-1], found.exact[-1]),
        ("After every step, together", found.record.q_halt.ravel(), found.exact.ravel()),
    ):
        measured = calibrate(q_halt, exact)
        told = measured.probability @ measured.counts / measured.counts.sum()
        bias = told - exact.mean()
        sees = (
            f"The head predicts {percent(told)} and {percent(exact.mean())} are right: it is "
            + ("about right on average" if abs(bias) < 0.02 else "overconfident" if bias > 0 else "underconfident")
            + f" (Brier score {measured.brier:.3f}, expected calibration error {measured.expected_error:.3f})."
        )
        edges = [f"{edge:g}" for edge in measured.edges.round(2)]
        groups = {"mean q_halt": measured.probability.tolist(), "right": measured.right.tolist()}
        drawing = column_chart(f"Reliability of q_halt, {name}", "q_halt", edges, groups, SHARES)
        rows = [
            (f"{low} to {high}", str(answers), percent(p) if answers else NONE, percent(r) if answers else NONE)
            for (low, high), answers, p, r in zip(
                pairwise(edges), measured.counts, measured.probability, measured.right, strict=True
            )
        ]
        numbers = table("Reliability", ("q_halt", "answers", "mean q_halt", "right"), rows)
        parts.append(figure(name, sees, drawing, numbers))
    intro = "Answers are in ten bins by q_halt. In each bin the share of right answers should equal the mean q_halt."
    return section("Calibration of q_halt", intro, "".join(parts))


def _share(right: Bool[np.ndarray, " answers"]) -> str:
    return percent(right.mean()) if len(right) else NONE
