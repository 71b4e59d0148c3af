"""Weights described in words: for the terminal and for the card of a model on the Hugging Face hub.

Entry: `describe_weights`, `model_card`.
"""

from trm.checkpoints.description import Description
from trm.configuration.reading import config_to_toml
from trm.puzzles.kinds.registry import kind_of
from trm.storage.hub import SCHEME


def describe_weights(description: Description) -> str:
    """Describe weights in one phrase: averaged or raw, the training steps, and the set that chose them."""
    which = "moving average" if description.averaged else "raw weights"
    chosen = {
        "": "",
        "test": ", chosen on the test set",
        "validation": f", chosen on {description.config.data.validation:,} held-back training puzzles",
    }
    return f"{which} after {description.step:,} training steps{chosen[description.chosen_on]}"


def model_card(repository: str, file: str, description: Description, parameters: int) -> str:
    """Write a model card as Markdown: what the weights are and how to use them."""
    metadata = description.metadata
    kind = kind_of(metadata).name
    versions = ", ".join(f"{name} {version}" for name, version in description.versions.items())
    return f"""---
library_name: trm
tags: [{kind}, tiny-recursive-model, jax, equinox]
---

# {repository}

A {description.config.model.recursion} of {parameters:,} parameters (without puzzle embeddings), for puzzles of kind
{kind} with {metadata.seq_len} tokens: {describe_weights(description)}. Written by {versions}.
{_caution(description)}
```bash
trm info {SCHEME}{repository}/{file}
trm evaluate {SCHEME}{repository}/{file} --data DIR
```

```toml
{config_to_toml(description.config).rstrip()}
```
"""


def _caution(description: Description) -> str:
    if description.chosen_on != "test":
        return ""
    return "\nThe accuracy of these weights on that test set is biased upwards: the set chose them.\n"
