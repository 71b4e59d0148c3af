"""Neutral keys: they change how numbers are computed, not the numbers, and may differ from those of the training run.

Entry: `NEUTRAL`, `with_neutral_settings`.
"""

from collections.abc import Sequence

from trm.configuration.reading import config_from_tables, config_to_tables
from trm.configuration.schema import Config
from trm.errors import InputError

NEUTRAL = {"model": {"remat", "unroll", "fused_attention", "plain_derivatives"}, "train": {"microbatches"}}
"""Keys by section. The numbers stay the same within rounding; memory and time change."""


def with_neutral_settings(config: Config, settings: Sequence[str]) -> Config:
    """Apply settings (`model.remat=true`) to a configuration; raise InputError for a key that is not neutral."""
    changed = config_from_tables(config_to_tables(config), settings)
    old, new = config_to_tables(config), config_to_tables(changed)
    for section in new:
        for key in sorted(old[section].keys() | new[section].keys()):
            if old[section].get(key) != new[section].get(key) and key not in NEUTRAL.get(section, ()):
                known = ", ".join(f"{section}.{key}" for section, keys in NEUTRAL.items() for key in sorted(keys))
                raise InputError(
                    f"{section}.{key}: found {new[section].get(key)!r}, expected no other key than {known}"
                )
    return changed
