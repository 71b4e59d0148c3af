"""The page that `trm inspect` writes: figures of how a model reasons."""
