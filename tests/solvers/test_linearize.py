"""The field's Jacobian and time derivative, by every way that torch leaves open."""

from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._linearize import linearize

jvp: Any = torch.func.jvp  # whose result has a type of two kinds


def field(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] * x[:, 1] ** 2, torch.sin(t) * x[:, 0], t**2 + 0 * t], dim=1)


def by_hand(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    a, b, _ = x.unbind(1)
    o = torch.zeros_like(t)
    rows = ([b**2, 2 * a * b, o], [torch.sin(t), o, o], [o, o, o])
    rate = torch.stack([o, torch.cos(t) * a, 2 * t], dim=1)
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1), rate


@pytest.fixture
def point() -> tuple[Tensor, Tensor]:
    return torch.rand(4), torch.randn(4, 3)


def test_it_is_the_derivative(point) -> None:
    for found, expected in zip(linearize(field, *point), by_hand(*point), strict=True):
        torch.testing.assert_close(found, expected)


def test_without_gradients_it_is_the_same(point) -> None:
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = linearize(field, *point)
        for a, b in zip(found, by_hand(*point), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("way", ["forward", "reverse", "functions", "dual numbers"])
def test_its_own_derivatives_are_exact(way, point) -> None:
    t, x = point
    v = torch.randn_like(x)
    _, (expected, _) = jvp(lambda x: by_hand(t, x), (x,), (v,))
    if way == "functions":
        found = jvp(lambda x: linearize(field, t, x)[0], (x,), (v,))[1]
    elif way == "dual numbers":
        with forward_ad.dual_level():
            dual = linearize(field, t, forward_ad.make_dual(x, v))[0]
            found = forward_ad.unpack_dual(dual).tangent
    elif way == "forward":
        columns = torch.func.jacfwd(lambda x: linearize(field, t, x)[0])(x)
        found = torch.einsum("bijck,ck->bij", columns, v)
    else:
        leaf, w = x.clone().requires_grad_(), torch.randn(4, 3, 3)
        (found,) = torch.autograd.grad((w * linearize(field, t, leaf)[0]).sum(), leaf)
        (expected,) = torch.autograd.grad((w * by_hand(t, leaf)[0]).sum(), leaf)
    assert found is not None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("event", [(), (0,), (1,), (2, 3), (70,)], ids=str)
def test_events_of_any_shape_are_flattened(event) -> None:
    t, x = torch.rand(5), torch.randn(5, *event)
    matrix = torch.randn(x[0].numel(), x[0].numel())
    linear = lambda t, x: (x.reshape(5, -1) @ matrix.T).reshape(x.shape)  # noqa: E731
    jacobian, rate = linearize(linear, t, x)
    torch.testing.assert_close(jacobian, matrix.expand(5, *matrix.shape))
    assert rate.shape == (5, x[0].numel())
    assert not rate.any()


def test_a_constant_field_has_none() -> None:
    jacobian, rate = linearize(lambda t, x: torch.ones_like(x), torch.rand(2), torch.randn(2, 3))
    assert not jacobian.any() and not rate.any()


def test_a_field_that_vmap_refuses_is_followed_one_direction_at_a_time(point) -> None:
    calls = []

    def looks(t: Tensor, x: Tensor) -> Tensor:
        y = field(t, x)
        calls.append(bool((y.sum() > 0).item()) if y.ndim else None)
        if torch._C._functorch.maybe_current_level() == 2:  # pyright: ignore
            raise RuntimeError("vmap: not here")
        return y

    for found, expected in zip(linearize(looks, *point), by_hand(*point), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_mistake_in_the_field_keeps_its_own_error(point) -> None:
    def broken(t: Tensor, x: Tensor) -> Tensor:
        return x @ torch.ones(4, 4)

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linearize(broken, *point)


def test_a_detached_field_is_followed_through_what_it_hides(point) -> None:
    def hidden(t: Tensor, x: Tensor) -> Tensor:
        return field(t, x).detach()

    assert not linearize(hidden, *point)[0].any()
    hidden.undetached = field  # pyright: ignore[reportFunctionMemberAccess]
    t, x = point
    leaf = x.clone().requires_grad_()
    for found, expected in zip(linearize(hidden, t, leaf), by_hand(t, x), strict=True):
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad


def test_dropout_uses_one_mask_for_every_direction() -> None:
    drop = nn.Dropout(0.5)
    total = lambda t, x: drop(x.sum(1, keepdim=True).expand(-1, 9))  # noqa: E731
    jacobian, _ = linearize(total, torch.rand(4), torch.randn(4, 9))
    assert {0.0, 2.0} == set(jacobian.flatten().tolist())
    assert torch.equal(jacobian, jacobian[:, :, :1].expand(4, 9, 9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_time_derivative_survives_at_the_ends_of_a_solve(dtype) -> None:
    # In float32 an end is rounded out of the span and moved back.
    s, t = torch.tensor([0.7, 0.1, 0.3]), torch.tensor([1.2, 0.6, 0.9])
    x = torch.ones(3, 2, dtype=dtype)
    bound = BoundField(lambda t, x: t[:, None] * x, None, (s, t, x))
    for clock in (s, t, (s + t) / 2):
        assert (linearize(bound, clock, x)[1] == 1).all()
