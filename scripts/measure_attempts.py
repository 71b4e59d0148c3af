"""`python scripts/measure_attempts.py MODEL FILE`: puzzles solved against attempts, network passes and seconds.

Attempts differ by symmetries (views), by noise on the first latents (starts), by noise at every step, by guesses, or by
several of these. The rules end the attempts at a puzzle; answers in the file are not used.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from records import Recorder, hardware
from starting import start

from trm.errors import InputError
from trm.evaluation.report import wilson_interval
from trm.model.flops import network_passes
from trm.parallel.mesh import make_mesh
from trm.puzzles.text.decode import read_text
from trm.show.console import print_lines
from trm.solving import attempts as attempts_module
from trm.solving.attempts import AttemptSolver
from trm.solving.options import NoiseAt, NoiseOn, SolverOptions, choose_guesses
from trm.solving.trained_model import SLOTS, load
from trm.solving.views import make_views, most_views


def main(
    model_name: Annotated[str, typer.Argument(metavar="MODEL", help="Weights, as `trm solve` takes them.")],
    file: Annotated[Path, typer.Argument(help="Puzzles, as `trm solve` reads them.")],
    name: Annotated[str, typer.Option(help="Name of the puzzles in the record.", show_default="that of the file")] = "",
    puzzles: Annotated[int, typer.Option(help="The first so many puzzles.", min=1)] = 64,
    skip: Annotated[int, typer.Option(help="Puzzles of the file to leave out before them.", min=0)] = 0,
    attempts: Annotated[int, typer.Option(help="Attempts at a puzzle, at most.", min=1)] = 64,
    guesses: Annotated[int | None, typer.Option(help="Cells that an attempt guesses.", min=0)] = None,
    views: Annotated[bool, typer.Option(help="Whether attempts see other symmetries.")] = True,
    noise: Annotated[float, typer.Option(help="Noise on the latents; 0: only at the start, without views.")] = 0.0,
    noise_on: Annotated[NoiseOn, typer.Option(help="Latents that get it.")] = "both",
    noise_at: Annotated[NoiseAt, typer.Option(help="When.")] = "start",
    json_out: Annotated[Path | None, typer.Option("--json", help="File that the records are appended to.")] = None,
) -> None:
    model = load(model_name).in_fast_dtype()
    mesh = make_mesh(1)
    recorder = Recorder("attempts", json_out, hardware(mesh))
    read = model.read(read_text(file), str(file))[skip:][:puzzles]
    if not read:
        raise InputError(f"{file}: found no puzzle after the first {skip}, expected more")
    questions = np.stack([question.tokens for question in read])
    symmetries = most_views(model.metadata, attempts) if views else make_views(model.metadata, 1)
    options = SolverOptions(noise=noise, noise_on=noise_on, noise_at=noise_at, guesses=guesses)
    identifiers = np.zeros(len(questions), np.int32)

    solver = AttemptSolver(model.weights, model.config, mesh, options, SLOTS, symmetries, model.kind, attempts)
    # Programs are compiled before the clock starts: one for each power of two up to the number of slots.
    for slots in 2 ** np.arange(SLOTS.bit_length()):
        next(solver.rounds(np.repeat(questions[:1], slots, axis=0), np.zeros(slots, np.int32)))
    passes = network_passes(model.config.model)
    begin, processor = time.perf_counter(), time.process_time()
    for after in solver.rounds(questions, identifiers):
        found, count = after.found, len(questions)
        solved = int(found.obeys.sum())
        low, high = wilson_interval(solved / count, count)
        seconds, processor_seconds = time.perf_counter() - begin, time.process_time() - processor
        how: dict[str, Any] = {"views": views, "noise": noise, "guesses": choose_guesses(guesses, model.kind)}
        if skip:
            how["skip"] = skip
        if noise or not views:
            how |= {"noise": noise or attempts_module.START_NOISE, "noise_on": noise_on, "noise_at": noise_at}
        recorder.add(
            {
                "solved": solved,
                "steps_per_puzzle": float(found.steps.mean()),
                "passes_per_puzzle": float(found.steps.mean() * passes),
                "seconds_per_puzzle": seconds / count,
                "processor_seconds_per_puzzle": processor_seconds / count,
            },
            model=model_name,
            puzzles=name or file.stem,
            count=count,
            attempts=after.limit,
            **how,
        )
        print_lines(
            f"{name or file.stem}, {how}: {after.limit} attempts: {solved} of {count} ({low:.1%} to {high:.1%}), "
            f"{found.steps.mean():.1f} steps, {processor_seconds / count:.2f} processor seconds per puzzle"
        )


if __name__ == "__main__":
    start(main)
