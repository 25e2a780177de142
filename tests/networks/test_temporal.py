"""TemporalFourier: series in time, derivatives, transformations, precision, and bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from torch import Tensor

import flowmaps as fm
from flowmaps.networks._chebyshev import Chebyshev

N = fm.networks


def made(**options: Any) -> N.TemporalFourier:
    """A small network with all weights away from zero."""
    net = N.TemporalFourier(**{"dim": 2, "width": 8, "depth": 2, "nodes": 6, **options})
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return net


def mean(net: N.TemporalFourier, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    return net(torch.full_like(t, net.decodes[0]), t, x, condition)


# ---------------------------------------------------------------------------- the series


@given(
    nodes=st.integers(2, 24),
    start=st.floats(-5.0, 5.0),
    span=st.one_of(st.floats(0.1, 20.0), st.floats(-20.0, -0.1)),
    seed=st.integers(0, 100),
)
def test_the_series_is_the_chebyshev_interpolant(
    nodes: int, start: float, span: float, seed: int
) -> None:
    """Against numpy's own fit through the nodes, its values and its derivative at the ends too."""
    series = Chebyshev(nodes, start, start + span)
    values = torch.randn(nodes, generator=torch.Generator().manual_seed(seed))
    coefficients = series.analyse(values)
    domain = sorted((start, start + span))
    fitted = chebyshev.Chebyshev.fit(series.times.numpy(), values.numpy(), nodes - 1, domain)
    torch.testing.assert_close(series.synthesise(coefficients), values)
    times = start + span * torch.linspace(0.0, 1.0, 13)
    assert times[0] == start and series.times[0] == start
    found = coefficients @ series.basis(times)
    np.testing.assert_allclose(found.numpy(), fitted(times.numpy()), rtol=1e-9, atol=1e-9)
    slope = torch.func.jvp(
        lambda t: coefficients @ series.basis(t), (times,), (torch.ones_like(times),)
    )[1]
    size = float(np.abs(fitted.deriv()(times.numpy())).max()) + 1
    np.testing.assert_allclose(slope.numpy(), fitted.deriv()(times.numpy()), atol=1e-9 * size)


def test_the_lowest_modes_of_a_function_that_has_no_others_are_all() -> None:
    series = Chebyshev(9, 0.0, 2.0)
    cube = (series.times**3)[:, None]
    torch.testing.assert_close(series.synthesise(series.analyse(cube, 4)), cube)
    assert not torch.allclose(series.synthesise(series.analyse(cube, 3)), cube)


# ---------------------------------------------------------------------------- the map that it makes


@pytest.mark.parametrize("start, end", [(0.0, 1.0), (1.0, 3.5), (1.0, -1.0)])
def test_a_map_from_one_time_all_times_in_one_evaluation(start: float, end: float) -> None:
    """Along, time by time and the trajectory at the nodes agree; the start is the identity."""
    net = made(start=start, end=end, condition_dim=3)
    learned = fm.maps.NeuralFlowMap(net)
    x, condition = torch.randn(4, 2), torch.randn(4, 3)
    times = start + (end - start) * torch.tensor([0.0, 0.13, 0.5, 1.0, 0.7])
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    path = learned.along(start, times, x, condition)
    assert len(calls) == 1
    torch.testing.assert_close(
        path, torch.stack([learned(start, float(t), x, condition) for t in times])
    )
    assert torch.equal(path[0], x)
    rows = start + (end - start) * torch.rand(3, 4)  # every sample its own times
    expected = torch.stack([learned(start, row, x, condition) for row in rows])
    torch.testing.assert_close(learned.along(start, rows, x, condition), expected)
    nodes = net.trajectory(x, condition)
    torch.testing.assert_close(nodes, learned.along(start, net.times, x, condition))
    assert torch.equal(nodes[0], x) and torch.equal(learned(start, start, x, condition), x)


def test_a_new_network_stands_still_and_takes_events_of_any_shape() -> None:
    net = N.TemporalFourier(dim=6, width=8, depth=1, nodes=3)
    learned = fm.maps.NeuralFlowMap(net)
    x = torch.randn(5, 2, 3)
    assert torch.equal(learned(0.0, 1.0, x), x)
    assert learned.along(0.0, [0.5, 1.0], x).shape == (2, 5, 2, 3)
    assert net.trajectory(x).shape == (3, 5, 2, 3)
    assert learned.velocity(0.0, x).shape == x.shape


def test_every_sample_is_by_itself() -> None:
    net = made()
    x = torch.randn(5, 2)
    other = x.clone()
    other[1:] = torch.randn(4, 2)
    torch.testing.assert_close(net.trajectory(x)[:, 0], net.trajectory(other)[:, 0])
    assert net.trajectory(x[:0]).shape == (6, 0, 2)


def test_classes_are_a_condition() -> None:
    net = made(classes=3)
    x = torch.ones(4, 2)
    path = net.trajectory(x, torch.tensor([0, 2, -1, 0]))
    torch.testing.assert_close(path[:, 0], path[:, 3])
    assert not torch.allclose(path[1:, 0], path[1:, 1])


def test_another_parametrisation_takes_one_batched_call() -> None:
    """It does not know how to ask for all times at once, and agrees all the same."""
    net = made()
    learned = fm.maps.NeuralFlowMap(net, fm.maps.Endpoint(2.0))
    x, times = torch.randn(3, 2), [0.0, 0.3, 1.0]
    each = torch.stack([learned(0.0, t, x) for t in times])
    torch.testing.assert_close(learned.along(0.0, times, x), each)


# ---------------------------------------------------------------------------- derivatives


def test_forward_mode_is_right_in_time_and_state() -> None:
    """Against central differences in float64, at the ends and at nodes too; twice in time."""
    net = made()
    learned = fm.maps.NeuralFlowMap(net)
    x, v = torch.randn(7, 2), torch.randn(7, 2)
    t = torch.tensor([0.0, 0.5, 1.0, net.times[2], 0.1, 0.9, 0.3])
    h = 1e-5

    def at(t: Tensor, x: Tensor) -> Tensor:
        """The map's formula, which goes on beyond its ends."""
        return x + t[:, None] * mean(net, t, x)

    slope = (at(t + h, x) - at(t - h, x)) / (2 * h)
    moved = fm.calculus.time_derivative(learned, 0.0, t, x)
    torch.testing.assert_close(moved, slope, rtol=1e-7, atol=1e-7)
    push = (at(t, x + h * v) - at(t, x - h * v)) / (2 * h)
    directional = fm.calculus.directional(learned, 0.0, t, x, v)
    torch.testing.assert_close(directional, push, rtol=1e-7, atol=1e-7)

    def first(t: Tensor) -> Tensor:
        return torch.func.jvp(lambda u: at(u, x), (t,), (torch.ones_like(t),))[1]

    twice = torch.func.jvp(first, (t,), (torch.ones_like(t),))[1]
    curved = (first(t + h) - first(t - h)) / (2 * h)
    torch.testing.assert_close(twice, curved, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(learned.velocity(0.0, x), moved_at_start(learned, x))


def moved_at_start(learned: fm.maps.NeuralFlowMap, x: Tensor) -> Tensor:
    return fm.calculus.time_derivative(learned, 0.0, 0.0, x)


def test_gradients_reach_every_weight_and_are_right() -> None:
    net = made()
    x, t = torch.randn(3, 2), torch.tensor([0.2, 0.9, 1.0])
    torch.autograd.gradcheck(lambda x, t: mean(net, t, x), (x.requires_grad_(), t.requires_grad_()))
    net.trajectory(x).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


# ---------------------------------------------------------------------------- torch's machinery


def test_vmap_and_compiled_code_agree() -> None:
    net = made()
    learned = fm.maps.NeuralFlowMap(net)
    x, times = torch.randn(3, 2), torch.linspace(0.0, 1.0, 4)
    path = learned.along(0.0, times, x)
    single = torch.func.vmap(lambda x: learned.along(0.0, times, x[None])[:, 0], out_dims=1)
    torch.testing.assert_close(single(x), path)
    torch._dynamo.reset()
    for function in (
        lambda x, t: learned.along(0.0, t, x),
        lambda x, t: fm.calculus.time_derivative(learned, 0.0, t[1], x),
        lambda x, t: net.trajectory(x),
    ):
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x, times), function(x, times))


def test_times_outside_are_nan_where_no_call_can_raise() -> None:
    learned = fm.maps.NeuralFlowMap(made())
    x, times = torch.randn(3, 2), torch.tensor([0.5, 1.5])
    rows = times[None].expand(3, 2)  # each sample's own, unknown to the host
    single = torch.func.vmap(lambda x, t: learned.along(0.0, t, x[None])[:, 0])
    assert torch.isfinite(single(x, rows)[:, 0]).all() and single(x, rows)[:, 1].isnan().all()
    torch._dynamo.reset()
    along = torch.compile(learned.along, backend="aot_eager", fullgraph=True)
    assert along(0.0, times, x)[1].isnan().all()
    late = torch.tensor([0.0, 0.25, 0.0])  # a start that is not the network's
    fine = torch.func.vmap(lambda s, x: learned.along(s, times[:1], x[None])[0, 0])
    assert torch.isfinite(fine(late, x)).all(1).tolist() == [True, False, True]


def test_half_precision_is_the_same_function_to_its_digits() -> None:
    net = made(nodes=9).float()
    x, t = torch.randn(16, 2), torch.rand(16, dtype=torch.float32)
    exact = mean(net, t, x.float())
    for dtype in (torch.bfloat16, torch.float16):
        half = mean(net.to(dtype), t, x.to(dtype))
        assert half.dtype == dtype
        assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()
        net.float()
    low = net.bfloat16()
    primal, tangent = torch.func.jvp(
        lambda x: mean(low, t, x), (x.bfloat16(),), (torch.ones_like(x).bfloat16(),)
    )
    assert primal.dtype == tangent.dtype == torch.bfloat16


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    units = {"input_shift": [273.15, 0.0], "input_scale": [2.0, 1.0], "output_scale": [3.0, 1.0]}
    net = made(start=1.0, end=3.0, modes=2, classes=4, activation="tanh", **units)
    learned = fm.maps.NeuralFlowMap(net)
    again = fm.load(fm.save(learned, tmp_path))
    x, label = torch.randn(3, 2), torch.tensor([0, 3, -1])
    times = [1.0, 2.2, 3.0]
    assert again.times == learned.times and again.times.start == 1.0
    assert torch.equal(again.along(1.0, times, x, label), learned.along(1.0, times, x, label))


# ---------------------------------------------------------------------------- bad input

BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "one node": ({"nodes": 1}, ValueError, "nodes must be a whole number of at least 2, got 1"),
    "too many modes": ({"modes": 7}, ValueError, "modes must be at most the 6 nodes, got 7"),
    "no modes": ({"modes": 0}, ValueError, "modes must be a whole number of at least 1"),
    "no span": ({"end": 0.0}, ValueError, "start and end must be different, finite times"),
    "endless": ({"end": float("inf")}, ValueError, "start and end must be different, finite times"),
    "no time": ({"start": "0"}, TypeError, "start must be a number, got '0'"),
    "activation": ({"activation": "relu"}, ValueError, "activation must be one of"),
    "units": ({"output_scale": [1.0]}, ValueError, "output_scale must have 2 entries, got 1"),
    "both": ({"classes": 2, "condition_dim": 1}, ValueError, "not both"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_refused(name: str, refused: Callable[..., None]) -> None:
    options, error, message = BAD[name]
    refused(lambda: N.TemporalFourier(**{"dim": 2, "nodes": 6, **options}), error, message)


def test_bad_calls_are_refused(refused: Callable[..., None]) -> None:
    net = made()
    x, t = torch.randn(3, 2), torch.rand(3)
    refused(lambda: net(t, t, torch.randn(3, 4)), ValueError, "x must have 2 coordinates a sample")
    refused(lambda: net(0.0, 1.0, x), TypeError, "s must be a tensor of shape")
    refused(lambda: net(t, t[None], x), ValueError, "s and t must agree")
    refused(lambda: net(t[:2], t[:2], x), ValueError, r"s must have shape \(3,\), got \(2,\)")
    refused(lambda: net(t, t, x, t[:, None]), ValueError, "takes no condition, got one")
    refused(lambda: made().float()(t, t, x), TypeError, "float64")


def test_times_that_it_does_not_decode_are_refused(refused: Callable[..., None]) -> None:
    for times in (
        fm.maps.TimeSet(0.0, 1.0, backward=False),
        fm.maps.TimeSet(0.0, 2.0, backward=False, start=0.0),
        fm.maps.TimeSet(0.0, 1.0, start=0.5),
    ):
        refused(
            lambda times=times: fm.maps.NeuralFlowMap(made(), times=times),
            ValueError,
            r"decodes times in \[0, 1\] from s = 0 only, got times .* start=0\)",
        )
    shorter = fm.maps.TimeSet(0.0, 0.5, backward=False, start=0.0)
    assert fm.maps.NeuralFlowMap(made(), times=shorter).times == shorter
