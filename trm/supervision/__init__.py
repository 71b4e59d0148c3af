"""One supervision step: halting, carry, loss."""
