"""Mutations at random, without regard to what they reach. Entry: `fuzz`."""

import multiprocessing
import os
import random
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from fuzz.ending import Ending, ending_of, keep_fault, limit
from fuzz.mutate import mutate
from fuzz.targets import TARGETS
from trm.errors import InputError


def fuzz(name: str, inputs: int, seed: int, keep: Path, processes: int = 1) -> Counter[Ending]:
    """Read mutated inputs of a target; return how many ended in which way, without messages, and keep those of faults.

    Each process draws its own inputs. Raises InputError, naming where the inputs are, when one dies.
    """
    shares = [inputs // processes + (i < inputs % processes) for i in range(processes)]
    calls = [(name, share, f"{seed}-{i}" if processes > 1 else str(seed), keep) for i, share in enumerate(shares)]
    if processes == 1:
        return _fuzz_alone(*calls[0])
    try:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            return sum(pool.map(_fuzz_alone, *zip(*calls, strict=True)), Counter[Ending]())
    except BrokenProcessPool as error:
        left = ", ".join(map(str, sorted(keep.glob("reading-*/input*"))))
        raise InputError(f"{name}: found a process that died, expected none; it read one of {left}") from error


def _fuzz_alone(name: str, inputs: int, seed: str, keep: Path) -> Counter[Ending]:
    target, rng = TARGETS[name], random.Random(seed)
    seeds, endings = target.seeds(), Counter[Ending]()
    folder = keep / f"reading-{os.getpid()}"
    folder.mkdir(parents=True)
    for data in seeds:
        # What is good is read; and what the readers need is imported before the memory is limited.
        _ = ending_of(target.read, data, folder)
    limit()
    for number in range(inputs):
        data = mutate(rng, seeds)
        ending = ending_of(target.read, data, folder)
        endings[ending._replace(told="")] += 1
        if ending.is_fault:
            keep_fault(keep, f"{seed}-{number}", data, ending)
    shutil.rmtree(folder)
    return endings
