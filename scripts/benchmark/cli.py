"""The command line of the benchmarks. Entry: `main`.

Each command is a function in the module of its name; all are registered here.
"""

import sys

import typer

from benchmark.data import data_command
from benchmark.kernels import kernels_command
from benchmark.memory import memory_command
from benchmark.saving import saving_command
from benchmark.scaling import scaling_command
from benchmark.solver import solver_command
from benchmark.step import step_command
from benchmark.votes import votes_command
from trm.errors import InputError

app = typer.Typer(
    help="Measure trm. Every command prints a table; with --json FILE it also appends its results as lines of JSON.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
PROGRAM = "python scripts/benchmark"
EXAMPLES = {
    step_command: "step sudoku_mlp --batch-size 64 --set train.microbatches=8",
    memory_command: "memory sudoku_mlp arc1_att",
    kernels_command: "kernels maze_att --gpu scripts/benchmark/h100.textproto",
    scaling_command: "scaling sudoku_mlp --steps 5",
    data_command: "data --arc kaggle/combined/arc-agi",
    saving_command: "saving sudoku_mlp --set train.global_batch_size=32",
    solver_command: "solver runs/quickstart/weights.safetensors",
    votes_command: "votes --tasks 400 --views 1000",
}
for command, example in EXAMPLES.items():
    app.command(example.partition(" ")[0], epilog=f"Example: {PROGRAM} {example}")(command)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app(prog_name=PROGRAM)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
