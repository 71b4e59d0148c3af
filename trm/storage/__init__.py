"""Files: atomic writes, the hub, what is bundled."""
