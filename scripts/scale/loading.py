"""Time of the loader of one host among many. Entry: `time_slice`."""

import time

from records import spread

from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader


def time_slice(puzzles: PuzzleSet, host_batch: int, hosts: int, repeats: int = 5, steps: int = 8) -> dict[str, float]:
    """Time what the first of many hosts needs for its slice of a batch, in processor milliseconds: their spread."""
    loader = TrainLoader(puzzles, host_batch * hosts, seed=0, process=0, processes=hosts)
    loader.load(0)
    milliseconds = []
    for repeat in range(repeats):
        start = time.process_time()
        for step in range(steps):
            loader.load(1 + repeat * steps + step)
        milliseconds.append(1e3 * (time.process_time() - start) / steps)
    return spread(milliseconds)
