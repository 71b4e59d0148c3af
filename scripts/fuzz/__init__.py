"""Bad input, at scale: `python scripts/fuzz TARGET`."""
