"""Online augmentation, of a batch at a time. Entry: `take`; a `PuzzleKind` draws and augments.

A set that is augmented online (`Metadata.online_augmentation`) has the distribution of a stored set with infinitely
many augmentations. Every process draws the random numbers of the whole batch, so that a batch is a function of seed and
step on any number of processes.
"""

from trm.puzzles.kinds.kind import Draws


def take(draws: Draws | None, part: slice) -> Draws | None:
    """Return the draws of a part of the examples."""
    return None if draws is None else type(draws)(*(field[part] for field in draws))
