"""The network: embeddings, recursion, blocks, heads."""
