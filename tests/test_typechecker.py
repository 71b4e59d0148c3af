"""Types are checked in the tests, in functions within functions too, each time these are made."""

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped
from typechecker import check

from trm.evaluation.report import wilson_interval


def make(n: int, default: object = None):
    @jaxtyped(typechecker=check)
    def inner(x: Float[np.ndarray, f"{n}"], y: object = default) -> Float[np.ndarray, "k"]:
        return x[None] if y else x

    return inner


@pytest.mark.parametrize("default", [None, []])
def test_each_function_keeps_its_own_types(default: object):
    for n in (2, 3, 2):
        inner = make(n, default)
        assert inner(np.zeros(n)).shape == (n,)
        with pytest.raises(TypeCheckError, match="parameter"):
            inner(np.zeros(n + 1))
        with pytest.raises(TypeCheckError, match="return"):
            inner(np.zeros(n), 1)


def test_the_package_is_checked():
    with pytest.raises(TypeCheckError, match="wilson_interval"):
        wilson_interval("half", 3)  # pyright: ignore[reportArgumentType]
