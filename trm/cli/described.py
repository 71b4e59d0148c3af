"""The description of a checkpoint on the terminal. Entry: `print_described`."""

from collections.abc import Mapping

import numpy as np

from trm.checkpoints.card import describe_weights
from trm.checkpoints.description import Description
from trm.configuration.reading import config_to_toml
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata
from trm.show.console import print_lines, print_rows


def print_described(description: Description, arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Print the description of a file, its configuration, and the dtype and shape of each of its arrays."""
    rows = {"kind": description.kind, "step": description.step}
    if description.kind == "weights":
        rows["weights"] = describe_weights(description)
    # As everywhere, the parameters of a model are those that are trained, without the puzzle table.
    apart = ("model.recursion.initial.", "puzzle_table") if description.kind == "weights" else ()
    numbers = sum(int(np.prod(shape)) for name, (_, shape) in arrays.items() if not name.startswith(apart))
    rows |= {
        "parameters" if description.kind == "weights" else "numbers": f"{numbers:,}",
        "written by": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
        "puzzle set": _describe_puzzles(description.metadata),
    }
    print_rows(rows)
    print_lines("\n" + config_to_toml(description.config))
    print_rows({name: f"{dtype} {shape}" for name, (dtype, shape) in arrays.items()})


def _describe_puzzles(metadata: Metadata) -> str:
    side = metadata.side
    size = f"{side}x{side}" if side else f"{metadata.seq_len} cells"
    return (
        f"{kind_of(metadata).name}, {size}, vocabulary of {metadata.vocab_size}, "
        f"{metadata.num_puzzle_identifiers:,} puzzle identifiers, {metadata.total_groups:,} puzzles"
    )
