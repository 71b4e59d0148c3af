"""Microbatches: the pieces that a device cuts its share of a batch into. Entry: `pieces_of`."""

from trm.configuration.schema import Config
from trm.model.layers import swiglu_width

CACHED_BYTES = 5_000_000
"""Largest inner activations of a SwiGLU on a CPU, in bytes. With much larger ones every product waits for memory, and a
step of sudoku_mlp takes twice as long (2 cores, Zen 3 and Zen 4)."""


def pieces_of(config: Config, seq_len: int, batch: int, platform: str, digits: int = 0) -> int:
    """Return the number of pieces for a device's `batch` sequences: `train.microbatches`, or a choice where that is 0.

    The choice on a CPU is the fewest pieces whose activations stay in the cache; elsewhere one. Results are the same
    within rounding. `digits`: number of digits that have a state of their own.
    """
    if config.train.microbatches:
        return config.train.microbatches
    if platform != "cpu":
        return 1
    model = config.model
    vectors = (seq_len + model.prefix_len) * max(1, digits)
    # Gate and value of the SwiGLU over channels, in float32; those over positions are about as large.
    inner_bytes = 2 * vectors * swiglu_width(model.hidden_size, model.expansion, model.inner_multiple) * 4
    fitting = max(1, CACHED_BYTES // inner_bytes)
    return next(pieces for pieces in range(1, batch + 1) if batch % pieces == 0 and batch // pieces <= fitting)
