"""Several runs of one experiment: their mean, with an interval for the variation between seeds.

Entry: `mean_interval` of values of each run; `experiment_of` for the values that the seeds of one experiment share.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from trm.configuration.reading import config_to_tables
from trm.configuration.schema import Config


def mean_interval(
    values: Float[np.ndarray, "runs *rest"],
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Return the mean over runs, and half the width of its 95 % interval; NaN for a single run.

    The interval is that of Student's t for the mean over all seeds, if their values are normally distributed.
    """
    from scipy.special import stdtrit

    runs = len(values)
    mean = np.asarray(values.mean(axis=0))
    if runs < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, np.asarray(stdtrit(runs - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(runs))


def experiment_of(config: Config) -> dict[str, dict[str, Any]]:
    """Return the values of a configuration but its seed: runs with the same values are seeds of one experiment."""
    tables = config_to_tables(config)
    del tables["train"]["seed"]
    return tables
