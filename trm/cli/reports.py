"""Reports of evaluations on the terminal and as JSON. Entry: `print_report`, `print_tables`, `describe_votes`,
`print_votes`; `write_json`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from trm.evaluation.arc import Ranking, describe_rankings, known_tests, pass_at
from trm.evaluation.report import Accuracy, Interval, Report, wilson_interval
from trm.show.console import console, print_lines, print_rows, print_warning
from trm.storage.files import atomic_write


def print_report(name: str, report: Report) -> None:
    """Print the metrics of a set of puzzles, with the intervals of the accuracies."""
    print_lines(f"{name}: {report.examples} puzzles (in brackets: 95 % intervals)")
    intervals = report.intervals
    print_rows({f"  {key}": _with_interval(value, intervals.get(key)) for key, value in report.metrics.items()})


def print_tables(report: Report, passes: int) -> None:
    """Print accuracy by compute (`passes` network passes per step), by difficulty and by confidence."""
    columns = ("puzzles", "tokens", "exact", "95 % interval")

    def add(table: Table, accuracy: Accuracy, *cells: str) -> None:
        shares = (f"{accuracy.token:.4f}", f"{accuracy.exact:.4f}", _interval(accuracy.exact_interval))
        table.add_row(*cells, str(accuracy.puzzles), *shares)

    judged = any(row.without_rules for row in report.by_compute)
    more = ("exact without rules",) if judged else ()
    by_compute = Table("steps", "passes", "candidates", *more, *columns, box=None)
    for row in report.by_compute:
        unjudged = (f"{row.without_rules.exact:.4f}",) if row.without_rules else ()
        compute = f"{row.steps:.4g}", f"{row.steps * passes:.4g}", str(row.candidates)
        add(by_compute, row.accuracy, *compute, *unjudged)
    by_difficulty = Table("rating", *columns, box=None)
    for row in report.by_difficulty:
        rating = f"{row.lowest} to {row.highest}" if row.highest > row.lowest else str(row.lowest)
        add(by_difficulty, row.accuracy, rating)
    by_confidence = Table("confidence", "mean", *columns, box=None)
    for row in report.by_confidence:
        add(by_confidence, row.accuracy, f"{row.lowest:.1f} to {row.highest:.1f}", f"{row.mean:.4f}")
    for table in (by_compute, by_difficulty, by_confidence):
        if table.row_count:
            console.print()
            console.print(table, highlight=False)


def describe_votes(rankings: Mapping[str, list[Ranking]]) -> dict[str, Any]:
    """Return pass@K of the votes on ARC, and the ranks, for the JSON report."""
    described = {"tasks": describe_rankings(rankings)}
    known = known_tests(rankings)
    if not known:
        return described
    passed = pass_at(rankings)
    intervals = {key: wilson_interval(value, len(known)) for key, value in passed.items()}
    return passed | {"intervals": intervals} | described


def print_votes(rankings: Mapping[str, list[Ranking]], described: Mapping[str, Any]) -> None:
    """Print pass@K of the votes on ARC, as `describe_votes` returns it."""
    tests, solved = (sum(map(len, of.values())) for of in (rankings, known_tests(rankings)))
    print_lines(f"votes: {len(rankings)} tasks, {tests} test inputs")
    if solved < tests:
        print_warning(
            f"{tests - solved} of {tests} test inputs have no known solution: pass@K leaves them out, and exact "
            "accuracy counts every answer to them as wrong"
        )
    if intervals := described.get("intervals"):
        print_rows({f"  {key}": _with_interval(described[key], interval) for key, interval in intervals.items()})


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON; NaN, the mean of nothing, becomes null."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(values)), encoding="utf-8")


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.4f}" + (f" ({_interval(interval)})" if interval else "")


def _interval(interval: Interval) -> str:
    return "{:.4f} to {:.4f}".format(*interval)


def _without_nan(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _without_nan(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_without_nan(value) for value in values]
    return None if isinstance(values, float) and math.isnan(values) else values
