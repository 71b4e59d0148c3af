"""A checkpoint of the original: read, converted to our weights and back, and loaded into tables of other sizes."""

import importlib.util
from collections.abc import Iterator

from trm.model.weights import abstract_weights
from trm.original.files import read_state_dict
from trm.original.shapes import recursion_of
from trm.original.state_dict import COMPILED_PREFIX, PUZZLE_TABLE, bare, from_state_dict, to_state_dict
from trm.training.start_from import fit_rows

from .case import FORWARD, Case, Comparison
from .steps import configure_settings

FILE = "step_*"


def check_checkpoint(case: Case) -> Iterator[Comparison]:
    """Check that tensors stay the same, byte for byte, and what becomes of the puzzle table."""
    recorded = case.under("checkpoint")
    for path in sorted(case.folder.glob(FILE)):
        has_torch = importlib.util.find_spec("torch") is not None
        comparison = Comparison(path.name, skipped="" if has_torch else "torch is not installed")
        if has_torch:
            _compare_files(comparison, read_state_dict(path), recorded)
        yield comparison

    comparison = Comparison("round trip")
    settings = case.values["config"]
    config, metadata = configure_settings(settings, recursion_of(bare(recorded)), settings["batch_size"])
    like = abstract_weights(config.model, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    exported = to_state_dict(from_state_dict(recorded, like))
    _compare_files(comparison, {COMPILED_PREFIX + name: tensor for name, tensor in exported.items()}, recorded)
    yield comparison

    table = bare(recorded)[PUZZLE_TABLE]
    for name in sorted({tensor.partition("/")[0] for tensor in case.tensors} - {"checkpoint"}):
        comparison = Comparison(name)
        for key, expected in bare(case.under(name)).items():
            comparison.close(key, fit_rows(table, len(expected)), expected, FORWARD["float32"])
        yield comparison


def _compare_files(comparison: Comparison, found: dict, expected: dict) -> None:
    comparison.equal("names", sorted(found), sorted(expected))
    for name, tensor in expected.items():
        comparison.equal(name, found[name].tobytes() if name in found else None, tensor.tobytes())
        comparison.equal(f"{name}: shape", found[name].shape if name in found else None, tensor.shape)
