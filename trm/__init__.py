"""The Tiny Recursive Model (arXiv 2510.04871) in JAX and Equinox."""
