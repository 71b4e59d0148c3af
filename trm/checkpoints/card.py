"""The page that a model has on the Hugging Face hub."""

from trm.checkpoints.description import Description
from trm.configuration.reading import config_to_toml
from trm.puzzles.kinds.registry import kind_of
from trm.storage.hub import SCHEME


def model_card(repository: str, file: str, description: Description, parameters: int) -> str:
    """Write what weights are and how to use them, from what they say of themselves, as Markdown."""
    metadata = description.metadata
    kind = kind_of(metadata).name
    versions = ", ".join(f"{name} {version}" for name, version in description.versions.items())
    return f"""---
library_name: trm
tags: [{kind}, tiny-recursive-model, jax, equinox]
---

# {repository}

A {description.config.model.recursion} of {parameters:,} parameters (puzzle embeddings not counted), for puzzles of kind
{kind} with {metadata.seq_len} tokens, after {description.step:,} training steps. Written by {versions}.

```bash
trm info {SCHEME}{repository}/{file}
trm evaluate {SCHEME}{repository}/{file} --data DIR
```

```toml
{config_to_toml(description.config).rstrip()}
```
"""
