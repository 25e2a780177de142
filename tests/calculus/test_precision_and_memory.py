"""Half precision is factorised in float32; many derivatives may be taken a few at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C = fm.calculus
MATRIX = torch.tensor([[1.5, 0.5], [-0.25, 2.0]], dtype=torch.float64)


def linear(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x @ MATRIX.to(x).T


def field(t: Tensor, x: Tensor) -> Tensor:
    return x @ MATRIX.to(x).T


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_matrices_of_half_precision_are_factorised(half: torch.dtype) -> None:
    x, wide = torch.ones(3, 2, dtype=half), torch.ones(3, 2)
    found = C.log_det(linear, 0.0, 1.0, x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.to(wide), C.log_det(linear, 0.0, 1.0, wide), rtol=1e-6, atol=0)
    weight = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    for norm in ("1", "2", "inf"):
        for w in (None, weight):
            found = C.logarithmic_norm(field, 0.0, x, norm=norm, weight=w)
            exact = C.logarithmic_norm(field, 0.0, wide, norm=norm, weight=w)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.to(wide), exact, rtol=1e-5, atol=0.0)
    assert C.divergence(field, 0.0, x).tolist() == [3.5] * 3
    assert C.field_jacobian(field, 0.0, x).dtype == half


@given(chunk=st.integers(1, 7), batch=st.integers(1, 3))
def test_a_few_derivatives_at_a_time_are_the_same(chunk: int, batch: int) -> None:
    x = torch.randn(batch, 2, 3)
    coupled = lambda t, x: torch.sin(x.cumsum(1)) * x.flip(2) + t[:, None, None]  # noqa: E731
    flow = lambda s, t, x: x + (t - s)[:, None, None] * coupled(t, x)  # noqa: E731
    few = {"chunk_size": chunk}
    for function, arguments in (
        (C.jacobian, (flow, 0.0, 0.1, x)),
        (C.log_det, (flow, 0.0, 0.1, x)),
        (C.field_jacobian, (coupled, 0.0, x)),
        (C.divergence, (coupled, 0.0, x)),
        (C.logarithmic_norm, (coupled, 0.0, x)),
    ):
        torch.testing.assert_close(function(*arguments, **few), function(*arguments))


def test_no_more_tangents_are_held_than_asked_for() -> None:
    """Twelve derivatives, five at a time, call the field three times."""
    calls = []

    def counted(t: Tensor, x: Tensor) -> Tensor:
        calls.append(1)
        return x * x

    x = torch.ones(2, 12)
    for chunk, passes in ((None, 1), (5, 3), (12, 1), (1, 12)):
        calls.clear()
        C.divergence(counted, 0.0, x, chunk_size=chunk, check_field=False)
        assert len(calls) == passes
