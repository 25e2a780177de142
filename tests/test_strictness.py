"""The suite is as strict as tests/conftest.py says."""

import os
import warnings

import jaxtyping
import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps import _checks
from flowmaps.theory._exact import exact_vector

checks = pytest.mark.skipif(
    os.environ.get("FLOWMAPS_TYPECHECK") == "0", reason="run-time checks are switched off"
)


def field(t: Tensor, x: Tensor) -> Tensor:
    return -x


def test_float64_is_the_default() -> None:
    assert torch.zeros(1).dtype is torch.float64


def test_a_test_can_ask_for_both_default_dtypes(default_dtype: torch.dtype) -> None:
    assert torch.zeros(1).dtype is default_dtype


@pytest.mark.parametrize("repetition", [1, 2])
def test_every_test_draws_the_same_numbers(repetition: int) -> None:
    expected = torch.rand(1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.rand(1), expected)


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning):
        warnings.warn("listen", stacklevel=1)


@checks
def test_a_wrong_shape_is_caught_where_the_function_would_go_on() -> None:
    clock, x = torch.zeros(1), torch.ones(3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="'t'"):
        fm.solvers.RK4().step(field, clock, torch.ones(3), x)


@checks
def test_a_wrong_type_is_caught_where_no_shape_is_named() -> None:
    """Where annotations are text, too."""
    with pytest.raises(jaxtyping.TypeCheckError, match="'samples'"):
        _checks.shorten((1, 2))
    with pytest.raises(jaxtyping.TypeCheckError, match="'name'"):
        exact_vector([1, 2], 3)


@checks
def test_a_functions_own_error_goes_first() -> None:
    with pytest.raises(TypeError, match=r"convert it with torch\.as_tensor"):
        fm.maps.Identity()(0.0, 1.0, [1.0])


def test_checked_functions_compile_whole() -> None:
    def step(x: Tensor) -> Tensor:
        return fm.solvers.RK4().step(field, torch.zeros(3), torch.ones(3), x).x

    x = torch.ones(3, 2)
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), step(x))
