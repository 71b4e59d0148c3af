"""Compare our code with recorded results of the original program. Entry: `python scripts/check_parity.py CASE_DIR...`.

`case.json` and the names of the tensors decide what is run; no size, seed or folder name is written here. Each line
gives the largest error of a run in units of its tolerance, the number of compared results, and the worst result.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import jax
import typer
from parity.arc import check_arc_functions, check_arc_set
from parity.case import Case, Comparison, read_case
from parity.checkpoint import check_checkpoint
from parity.data import check_batches, check_mazes, check_sudoku
from parity.failures import check_failures
from parity.parts import LOSSES, check_layers, check_losses, check_optimizers
from parity.steps import check_model
from parity.training import check_evaluation, check_trajectory
from parity.voting import check_voting
from records import Recorder, hardware

from trm.errors import InputError
from trm.model.recursions import RECURSIONS
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: python scripts/check_parity.py tests/golden/trm_*")
def main(
    cases: Annotated[list[Path], typer.Argument(metavar="CASE_DIR", help="Folders with a case.json each.")],
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Append the result of each case, as a line of JSON.")
    ] = None,
) -> None:
    """Run our code on recorded cases and compare everything that is recorded.

    An error of 1 is as large as the tolerance. Exit codes:
    1: an error exceeds its tolerance;
    2: none does, but a case is missing, malformed or of an unknown kind;
    0: everything agrees.
    """
    device = jax.devices()[0]
    recorder = Recorder("parity", json_out, hardware(make_mesh(1)))
    print(f"device: {device.device_kind} ({device.platform}), jax {jax.__version__}")
    failed = unknown = False
    for folder in cases:
        try:
            case = read_case(folder)
            comparisons = []
            for comparison in checker_of(case)(case):
                failed |= not comparison.passed
                comparisons.append(comparison)
                print(describe(folder, comparison), flush=True)
            command = f"python scripts/check_parity.py {folder}"
            recorder.add(summarize(comparisons), command=command, case=folder.resolve().name)
        except InputError as error:
            unknown = True
            print(f"ERROR  {folder}: {error}", flush=True)
        except KeyError as error:
            unknown = True
            print(f"ERROR  {folder}: case.json or tensors: {error} is missing", flush=True)
    raise typer.Exit(1 if failed else 2 if unknown else 0)


def checker_of(case: Case) -> Callable[[Case], Iterator[Comparison]]:
    """Tell the kind of a case from what is in it; raise InputError for an unknown kind."""
    values = case.values
    if "layers" in values:
        return check_layers
    if any(f"{name}/loss" in case.tensors for name in LOSSES):
        return check_losses
    if {"schedule", "signsgd", "trunc_normal"} & values.keys():
        return check_optimizers
    if values.get("arch") in RECURSIONS.names():
        for key, check in (("calls", check_trajectory), ("runs", check_model), ("metrics", check_evaluation)):
            if key in values:
                return check
    if "builds" in values:
        kinds = {
            kind_of(Metadata(**split["metadata"])).name for b in values["builds"] for split in b["splits"].values()
        }
        if kinds == {"sudoku"}:
            return check_sudoku
        if kinds == {"maze"}:
            return check_mazes
    if "build_config" in values:
        return check_arc_set
    if "dihedral_inverse_table" in values:
        return check_arc_functions
    if "runs" in values and all("dataset" in run for run in values["runs"]):
        return check_batches
    if "results" in values and all("submission_K" in result for result in values["results"]):
        return check_voting
    if "attempts" in values:
        return check_failures
    if "not_in_checkpoint" in values:
        return check_checkpoint
    raise InputError(f"unknown kind of case: {values.get('case')!r}, arch {values.get('arch')!r}")


def summarize(comparisons: Sequence[Comparison]) -> dict[str, float | str | None]:
    """Return the figures of a case: its largest error as a multiple of the tolerance, None where that is not finite."""
    compared = [comparison for comparison in comparisons if not comparison.skipped]
    worst = max(compared, key=lambda comparison: comparison.worst, default=Comparison(""))
    return {
        "error_per_tolerance": worst.worst if math.isfinite(worst.worst) else None,
        "worst": f"{worst.run}: {worst.what}",
        "runs": len(compared),
        "compared": sum(comparison.compared for comparison in compared),
        "failed": sum(not comparison.passed for comparison in compared),
    }


def describe(folder: Path, comparison: Comparison) -> str:
    """Write the line of one run."""
    name = f"{folder.resolve().name:24} {comparison.run:24}"
    if comparison.skipped:
        return f"skip   {name} skipped: {comparison.skipped}"
    verdict = "PASS" if comparison.passed else "FAIL"
    return f"{verdict}   {name} {comparison.worst:9.2e} of {comparison.compared:4}  {comparison.what}"


if __name__ == "__main__":
    app()
