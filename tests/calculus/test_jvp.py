"""The one jvp: tangents of every argument, on flow maps and plain callables alike."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps


def flow(s: Tensor, t: Tensor, x: Tensor, c: dict | None = None) -> Tensor:
    speed = torch.ones_like(x[:, 0]) if c is None else c["speed"]
    offset = 0.0 if c is None else c["offset"] * c["label"][:, None]
    return torch.sin(x) * torch.exp(speed * (t - s * s))[:, None] + offset


def points() -> tuple[Tensor, Tensor, Tensor, dict]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, generator=generator)
    condition = {
        "speed": torch.tensor([0.5, 1.0, 2.0]),
        "offset": torch.randn(3, 2, generator=generator),
        "label": torch.tensor([0, 1, 2]),
        "nothing": None,
    }
    return torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.8, 0.2, 1.0]), x, condition


@given(seed=st.integers(0, 10_000), used=st.sets(st.sampled_from(["ds", "dt", "dx", "dc"])))
def test_the_derivative_along_any_direction(seed: int, used: set[str]) -> None:
    """Against central differences; what is not given does not move."""
    s, t, x, c = points()
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator) * (name in used)

    ds, dt, dx = draw("ds", s), draw("dt", t), draw("dx", x)
    dc = {k: draw("dc", c[k]) for k in ("speed", "offset")} | {"label": None, "nothing": None}

    def moved(h: float) -> Tensor:
        shifted = {k: v if dc[k] is None else v + h * dc[k] for k, v in c.items()}
        return flow(s + h * ds, t + h * dt, x + h * dx, shifted)

    given = {name: d for name, d in (("ds", ds), ("dt", dt), ("dx", dx)) if name in used}
    dcondition = dc if "dc" in used else None
    for callable_ in (flow, M.ExactFlowMap(flow)):
        value, slope = C.jvp(callable_, s, t, x, condition=c, dcondition=dcondition, **given)
        torch.testing.assert_close(value, flow(s, t, x, c))
        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        torch.testing.assert_close(slope, difference, rtol=1e-8, atol=1e-8)
        assert used or torch.equal(slope, torch.zeros_like(x))


def test_one_liners_over_it() -> None:
    s, t, x, c = points()
    v = torch.cos(x)
    for callable_ in (flow, M.ExactFlowMap(flow)):
        dt = C.jvp(callable_, s, t, x, dt=1.0, condition=c)[1]
        ds = C.jvp(callable_, s, t, x, ds=1, condition=c)[1]
        dv = C.jvp(callable_, s, t, x, dx=v, condition=c)[1]
        assert torch.equal(C.time_derivative(callable_, s, t, x, c), dt)
        assert torch.equal(C.start_derivative(callable_, s, t, x, c), ds)
        assert torch.equal(C.directional(callable_, s, t, x, v, c), dv)


def test_what_a_plain_callable_is_given(default_dtype: torch.dtype) -> None:
    """Times (batch,) in x's dtype, float32 for half precision; a module of one's own likewise."""
    seen: list[tuple] = []

    class Module(torch.nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            seen.append((s.dtype, t.dtype, s.shape, t.shape))
            return x * (t - s).to(x.dtype)[:, None]

    for callable_ in (Module(), Module().forward):
        C.time_derivative(callable_, 0, torch.tensor(1.0, dtype=torch.float64), torch.ones(2, 2))
    assert set(seen) == {(default_dtype, default_dtype, (2,), (2,))}
    seen.clear()
    slope = C.time_derivative(Module(), 0.0, 1.0, torch.ones(2, 2, dtype=torch.bfloat16))
    assert slope.dtype == torch.bfloat16 and seen == [(torch.float32, torch.float32, (2,), (2,))]


def test_a_flow_map_keeps_its_times_in_double_precision_under_single_states() -> None:
    seen = []

    class Spy(M.FlowMap):
        def _transport(self, s, t, x, condition):  # noqa: ANN001, ANN202
            seen.append((s.dtype, t.dtype))
            return x

    C.jvp(Spy(), torch.tensor(0.1), 0.3, torch.ones(2, 1, dtype=torch.float32), dt=1.0)
    assert seen == [(torch.float64, torch.float64)]


def test_second_derivatives_nest_in_any_order() -> None:
    """Forward over forward, reverse over forward, forward over reverse, mixed in s, t and x."""
    s, t, x, _ = points()
    m = M.ExactFlowMap(flow)
    one = torch.ones_like(s)

    def in_t(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return C.time_derivative(m, s, t, x)

    expected = -2 * s[:, None] * torch.sin(x) * torch.exp(t - s * s)[:, None]
    forward = torch.func.jvp(lambda s: in_t(s, t, x), (s,), (one,))[1]
    other = torch.func.jvp(lambda t: C.start_derivative(m, s, t, x), (t,), (one,))[1]
    torch.testing.assert_close(forward, expected)
    torch.testing.assert_close(other, expected)
    live = s.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(in_t(live, t, x).sum(), live)
    torch.testing.assert_close(reverse, expected.sum(1))

    def gradient(t: Tensor) -> Tensor:
        return torch.func.grad(lambda s: m(s, t, x).sum())(s)

    torch.testing.assert_close(torch.func.jvp(gradient, (t,), (one,))[1], expected.sum(1))


def test_forward_mode_outside_torch_func_passes_too() -> None:
    """The old interface, dual numbers, in s, t and x."""
    import torch.autograd.forward_ad as forward_ad

    s, t, x, _ = points()
    solver = M.SolverFlowMap(lambda t, x: torch.sin(x) * t[:, None], rtol=1e-9, atol=1e-9)
    for m in (M.ExactFlowMap(flow), solver):
        for k in range(3):
            primals = [s, t, x]
            expected = C.jvp(m, s, t, x, **{("ds", "dt", "dx")[k]: torch.ones_like(primals[k])})[1]
            with forward_ad.dual_level():
                primals[k] = forward_ad.make_dual(primals[k], torch.ones_like(primals[k]))
                tangent = forward_ad.unpack_dual(m(*primals)).tangent
            torch.testing.assert_close(tangent, expected, rtol=1e-7, atol=1e-7)


FORWARD_MODE: dict[str, Callable[[Tensor], object]] = {
    "jvp": lambda x: C.jvp(flow, 0.0, 1.0, x, dt=1.0),
    "jvp without a direction": lambda x: C.jvp(flow, 0.0, 1.0, x),
    "time_derivative": lambda x: C.time_derivative(flow, 0.0, 1.0, x),
    "start_derivative": lambda x: C.start_derivative(M.ExactFlowMap(flow), 0.0, 1.0, x),
    "directional": lambda x: C.directional(flow, 0.0, 1.0, x, x),
    "jacobian": lambda x: C.jacobian(flow, 0.0, 1.0, x),
    "log_det": lambda x: C.log_det(flow, 0.0, 1.0, x),
    "divergence": lambda x: C.divergence(lambda t, x: x, 0.0, x),
    "hutchinson": lambda x: C.divergence(lambda t, x: x, 0.0, x, "hutchinson"),
    "field_jacobian": lambda x: C.field_jacobian(lambda t, x: x, 0.0, x),
    "logarithmic_norm": lambda x: C.logarithmic_norm(lambda t, x: x, 0.0, x),
    "velocity": lambda x: M.ExactFlowMap(flow).velocity(0.0, x),
    "Conjugated.velocity": lambda x: M.Conjugated(M.Identity(), M.Affine(0, 2)).velocity(0.0, x),
    "newton": lambda x: M.Identity().between(0.0, 1.0).inverse("newton")(x),
    "tangent": lambda x: fm.residuals.tangent(flow, lambda t, x: x, 0.0, x),
    "lagrangian": lambda x: fm.residuals.lagrangian(flow, lambda t, x: x, 0.0, 1.0, x),
    "eulerian": lambda x: fm.residuals.eulerian(flow, lambda t, x: x, 0.0, 1.0, x),
    "liouville": lambda x: fm.residuals.liouville(flow, lambda t, x: x, 0.0, 1.0, x),
}


@pytest.mark.parametrize("name", FORWARD_MODE)
def test_forward_mode_is_refused_under_inference_mode(name: str) -> None:
    """By name, with the cure; it works under no_grad, and on tensors that inference mode made."""
    call, x = FORWARD_MODE[name], torch.ones(2, 2)
    with torch.inference_mode():
        made = torch.ones(2, 2)
        with pytest.raises(fm.errors.UnsupportedTransform, match=r"use torch\.no_grad instead"):
            call(x)
        with pytest.raises(fm.errors.UnsupportedTransform):
            call(made)
    with torch.no_grad():
        call(x)
    call(made)


def test_values_that_need_no_derivative_work_under_inference_mode() -> None:
    x = torch.ones(2, 2)
    with torch.inference_mode():
        assert fm.residuals.semigroup(flow, 0.0, 0.5, 1.0, x).shape == x.shape
        assert fm.residuals.identity(flow, 0.5, x).shape == x.shape
        residual = fm.residuals.integral_lagrangian(flow, lambda t, x: x, 0.0, 1.0, x)
        assert residual.shape == x.shape
