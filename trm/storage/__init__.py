"""Files: atomic writes, the hub, bundled configurations and weights."""
