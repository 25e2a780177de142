"""Tensors taken apart into columns: every operation gives what it gives of the whole."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from flowmaps.solvers._columns import TakenApart, apart, together

DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16]
DTYPES += [torch.float32, torch.float64, torch.complex128]
kinds = st.sampled_from(DTYPES)
real = st.sampled_from(DTYPES[:-1])


def check(function: Callable[..., Any], *given: Tensor) -> None:
    """Check a function of tensors, traced and taken apart, against itself."""
    wanted = function(*given)
    found = together(TakenApart(make_fx(function)(*given)).run(*map(apart, given)))
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for a, b in pairs:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        rtol = 1e-13 if b.dtype in (torch.float64, torch.complex128) else 1e-5
        assert torch.allclose(a.cdouble(), b.cdouble(), rtol=rtol, atol=rtol, equal_nan=True)


def numbers(*shape: int, dtype: torch.dtype) -> Tensor:
    return (100 * torch.randn(shape)).trunc().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", [torch.sum, torch.mean, torch.any, torch.all])
@given(st.integers(1, 4), st.booleans(), st.sampled_from([1, -1]))
def test_reductions_of_every_dtype(
    reduction: Any, dtype: torch.dtype, width: int, keepdim: bool, dim: int
) -> None:
    x = numbers(3, width, dtype=dtype)
    if reduction is not torch.mean or dtype.is_floating_point or dtype.is_complex:
        check(lambda x: reduction(x, dim, keepdim=keepdim), x)


@pytest.mark.parametrize("reduction", [torch.sum, torch.mean])
@given(real, real, st.booleans())
def test_reductions_to_every_dtype(
    reduction: Any, dtype: torch.dtype, to: torch.dtype, keepdim: bool
) -> None:
    x = torch.randn(4, 3).to(dtype) if dtype.is_floating_point else numbers(4, 3, dtype=dtype) % 5
    if reduction is torch.sum or to.is_floating_point:
        check(lambda x: reduction(x, 1, keepdim=keepdim, dtype=to), x)


@given(
    st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.sampled_from([(), (3,), (1, 3), (4, 3)])
)
def test_operations_promote_as_the_whole_does(
    a: torch.dtype, b: torch.dtype, shape: tuple[int, ...]
) -> None:
    check(lambda x, y: x * y + (x != y), numbers(4, 3, dtype=a), numbers(*shape, dtype=b))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, row: torch.cat([x, row.unsqueeze(1).expand(4, 1)], 1),
        lambda x, row: torch.cat([x, row.unsqueeze(1).expand(4, 3) * 2], 1),
        lambda x, row: row.unsqueeze(1).expand(-1, 2) * x,
        lambda x, row: x[:, :1].expand(4, 3) + x[:, :1].expand(-1, -1),
        lambda x, row: torch.cat([x[:, :0], x[:, 1:], x[:, 5:]], 1),
        lambda x, row: x[:2] + x[2:] + x[::2],
        lambda x, row: x.reshape(2, -1) + x.reshape(2, 4),
        lambda x, row: x[:, :1] * x[:, 0],
        lambda x, row: torch.frexp(x),
        lambda x, row: torch.frexp(x)[0] + x.max(1, keepdim=True)[0],
        lambda x, row: torch.count_nonzero(x > 0, 1)[:, None] * x,
        lambda x, row: x.unbind(1) + x.split(1, 1) + x.float().unbind(-1),
        lambda x, row: x.sum((0, 1)) + x.sum() + x.sum(0),
        lambda x, row: x.any() | x.all(0) | (x > 0).any(),
    ],
)
def test_shapes_are_as_of_the_whole(function: Callable[..., Any]) -> None:
    check(function, torch.randn(4, 2), torch.randn(1))
