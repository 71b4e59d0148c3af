"""Online augmentation, of a batch at a time. Entry: `take`; a `PuzzleKind` draws and augments.

A set that is augmented online (`Metadata.online_augmentation`) has the distribution of a stored one with endlessly many
augmentations. All random numbers are drawn for the whole batch, whichever process
reads which part: a batch is a function of seed and step on any number of processes.
"""

from trm.puzzles.kinds.kind import Draws


def take(draws: Draws | None, part: slice) -> Draws | None:
    """Take the draws of some of the examples."""
    return None if draws is None else type(draws)(*(field[part] for field in draws))
