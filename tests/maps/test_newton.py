"""Newton's inverse is right or refused, in any unit; sample by sample when asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.errors import SolveError

M = fm.maps


def square(unit: float = 1.0) -> M.Leg:
    """y -> y^2 in a unit, which reaches no negative state and folds at 0."""
    flow = M.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None] * (x * x / unit - x))
    return flow.between(0.0, 1.0)


def bent(unit: float = 1.0) -> M.Leg:
    """y -> y + y^3 / unit^2, onto everything."""
    return M.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None] * x**3 / unit**2).between(0.0, 1.0)


@settings(max_examples=15)
@given(
    depth=st.floats(-9, 0),
    unit=st.sampled_from([1e-9, 1.0, 1e9]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_state_without_preimage_is_refused(depth: float, unit: float, dtype: torch.dtype) -> None:
    target = torch.tensor([[-unit * 10.0**depth]], dtype=dtype)
    with pytest.raises(SolveError, match=r"samples \[0\].*throw=False"):
        square(unit).inverse("newton")(target)


@settings(max_examples=10)
@given(
    exponents=st.lists(st.floats(-6, 1), min_size=1, max_size=3),
    unit=st.sampled_from([1e-9, 1.0, 1e9]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    signs=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=3),
)
def test_what_has_a_preimage_is_inverted_in_any_unit(
    exponents: list[float], unit: float, dtype: torch.dtype, signs: list[float]
) -> None:
    """Each sample to the precision of its own size, zero among them; derivatives stay finite."""
    sizes = [sign * 10.0**e for e, sign in zip(exponents, signs, strict=False)]
    y = unit * torch.tensor(sizes, dtype=dtype)[:, None]
    leg = bent(unit)
    x = leg(y).requires_grad_()
    found = leg.inverse("newton")(x)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found, y, rtol=256 * eps, atol=0.0)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient, 1 / (1 + 3 * (y / unit) ** 2), rtol=1024 * eps, atol=0.0)


def test_offsets_inside_the_map_are_no_obstacle_to_inverting_zero() -> None:
    """States near 0 are made of larger numbers, whose rounding the residual cannot get below."""
    shifted = M.Conjugated(M.ExactFlowMap(lambda s, t, x: x), M.Affine(1000.0, 1.0))
    for x in (torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, -1.0]])):
        torch.testing.assert_close(shifted.between(0.0, 1.0).inverse("newton")(x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_bad_sample_is_alone(dtype: torch.dtype) -> None:
    leg = square()
    targets = torch.tensor([[4.0], [-1e-3], [float("nan")], [9.0]], dtype=dtype)
    with pytest.raises(SolveError, match=r"samples \[1, 2\]"):
        leg.inverse("newton")(targets)
    back = M.NewtonInverse(leg, throw=False)
    x = targets.requires_grad_()
    y = back(x)
    assert y.isnan().flatten().tolist() == [False, True, True, False]
    torch.testing.assert_close(y[[0, 3]], torch.tensor([[2.0], [3.0]], dtype=dtype))
    (gradient,) = torch.autograd.grad(y[[0, 3]].sum(), x)
    torch.testing.assert_close(gradient[[0, 3]], 0.5 / y.detach()[[0, 3]])
    assert M.NewtonInverse(**back.config()).throw is False


@settings(max_examples=8)
@given(seed=st.integers(0, 99))
def test_what_is_returned_maps_back(seed: int) -> None:
    """Of random cubics and targets, in single precision, whatever is not refused is a preimage."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = torch.randn(3, generator=generator).tolist()

    def cubic(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + (t - s)[:, None] * (a * x**3 + b * x**2 + c * x)

    leg = M.ExactFlowMap(cubic).between(0.0, 1.0)
    x = torch.randn(8, 1, generator=generator).float()
    y = M.NewtonInverse(leg, throw=False)(x)
    good = torch.isfinite(y)
    torch.testing.assert_close(leg(y)[good], x[good], rtol=1e-4, atol=1e-4)
