"""What every flow map promises: shapes, dtypes, times of any kind, paths, velocities."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps


def wide(a: Tensor, x: Tensor) -> Tensor:
    return a.reshape(-1, *[1] * (x.ndim - 1))


def exact(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(wide(t**2 - s**2, x))


def field(t: Tensor, x: Tensor) -> Tensor:
    return 2 * wide(t, x) * x


class Wave(torch.nn.Module):
    """A network for any event shape."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
        return torch.sin(x + wide(s * t, x))


def every_kind() -> dict[str, M.FlowMap]:
    steps = M.SolverFlowMap(field, method=fm.solvers.RK4(), steps=2)
    formula = M.ExactFlowMap(exact)
    return {
        "exact": formula,
        "exact with velocity": M.ExactFlowMap(exact, velocity=field),
        "adaptive": M.SolverFlowMap(field),
        "steps": steps,
        "torchdiffeq": M.SolverFlowMap(field, method=fm.solvers.TorchDiffEq("dopri5")),
        "neural": M.NeuralFlowMap(Wave(), times=M.TimeSet(-2.0, 2.0)),
        "endpoint": M.NeuralFlowMap(Wave(), M.Endpoint(3.0), M.TimeSet(-2.0, 2.0)),
        "second order": M.NeuralFlowMap(Wave(), M.SecondOrder(field), M.TimeSet(-2.0, 2.0)),
        "identity": M.Identity(),
        "conjugated": M.Conjugated(formula, M.Affine(1.0, -2.0)),
        "piecewise": M.Piecewise([formula, steps], [0.5]),
        "through": steps.through([0.25, 0.5]),
        "autonomous": M.Autonomous(M.ExactFlowMap(lambda s, t, x: x + wide(t - s, x)), 0.3),
    }


KINDS = sorted(every_kind())
SHAPES = [(3,), (0,), (0, 2), (1, 2), (2, 2, 1, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_dtype_and_times_of_any_kind(
    kind: str, shape: tuple[int, ...], default_dtype: torch.dtype
) -> None:
    """Numbers, numpy numbers, 0-d and (batch,) tensors of any real dtype, alone and mixed."""
    flow, x, batch = every_kind()[kind], torch.ones(shape), shape[0]
    y = flow(0.25, 1.0, x)
    assert (y.shape, y.dtype, y.device) == (x.shape, default_dtype, x.device)
    for s, t in (
        (np.float32(0.25), torch.ones(batch, dtype=torch.float16)),
        (torch.tensor(0.25), 1),
        (torch.full((batch,), 0.25), torch.tensor(1)),
        (np.full((batch,), 0.25), np.float64(1.0)),
    ):
        torch.testing.assert_close(flow(s, t, x), y, rtol=1e-4, atol=1e-4)
    assert flow.velocity(0.25, x).shape == x.shape
    path = flow.along(torch.full((batch,), 0.25), [1.0, 0.25], x)
    assert path.shape == (2, *x.shape) and path.dtype == default_dtype
    torch.testing.assert_close(path, torch.stack([y, x]), rtol=1e-4, atol=1e-4)
    if kind != "torchdiffeq":
        n = x.shape[1:].numel()
        assert C.jacobian(flow, 0.25, 1.0, x).shape == (batch, n, n)
        assert C.log_det(flow, 0.25, 1.0, x).shape == (batch,)
        assert C.time_derivative(flow, 0.25, 1.0, x).shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_velocity_is_the_derivative_on_the_diagonal(kind: str) -> None:
    """By values: central differences of X_{s,t} in t at s = t."""
    flow, x = every_kind()[kind], torch.tensor([[1.0, -0.5], [0.3, 2.0]])
    t, h = torch.tensor([0.2, 0.7]), 1e-4
    slope = (flow(t, t + h, x) - flow(t, t - h, x)) / (2 * h)
    torch.testing.assert_close(flow.velocity(t, x), slope, rtol=1e-5, atol=1e-5)
    if kind != "autonomous":
        return
    for time in (-3.0, 40.0):
        torch.testing.assert_close(flow.velocity(time, x), torch.ones(2, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_sample", [True, False])
def test_along_is_a_call_for_every_time(kind: str, per_sample: bool) -> None:
    """In any order, on both sides of the start, with repetitions; later and earlier at once."""
    flow, x = every_kind()[kind], torch.tensor([[1.0, -0.5], [0.3, 2.0], [0.0, 0.1]])
    s = torch.tensor([0.2, 0.7, 0.4])
    times = torch.tensor([0.6, 0.1, 0.9, 0.4, 0.6])
    rows = times[:, None] + torch.tensor([0.0, 0.05, -0.1]) if per_sample else times
    path = flow.along(s, rows, x)
    alone = torch.stack([flow(s, row, x) for row in rows])
    loose = {"adaptive": 1e-5, "torchdiffeq": 1e-6}.get(kind, 1e-12)
    torch.testing.assert_close(path, alone, rtol=loose, atol=loose)


def test_paths_are_read_or_stop_at_each_time() -> None:
    """Read they have the accuracy of the interpolant, stopping that of a call or more."""
    x, times = torch.tensor([[1.0, -0.5], [0.3, 2.0]]), torch.linspace(-1, 2, 40)
    tight = M.SolverFlowMap(field, rtol=1e-12, atol=1e-12)
    truth = torch.stack([tight(0.5, t, x) for t in times])
    read, stops = (M.SolverFlowMap(field, path=path) for path in ("interpolated", "stops"))
    assert (read.along(0.5, times, x) / truth - 1).abs().max() < 3e-5
    assert (stops.along(0.5, times, x) / truth - 1).abs().max() < 1e-6
    assert (read.config()["path"], stops.config()["path"]) == ("interpolated", "stops")


def test_times_along_given_as_a_list_keep_double_precision(default_dtype: torch.dtype) -> None:
    shift = M.ExactFlowMap(lambda s, t, x: (t - s)[:, None] + 0 * x)
    x = torch.zeros(1, 1, dtype=torch.float64)
    assert shift.along(0.0, [0.1], x).item() == 0.1


def test_derivatives_pass_along() -> None:
    """In start, times, state; through one adaptive solve, solves with stops, one batched call."""
    x, tight = torch.tensor([[1.0], [2.0]]), {"rtol": 1e-7, "atol": 1e-7}
    flows = (
        M.SolverFlowMap(field, **tight),
        M.SolverFlowMap(field, path="stops", **tight),
        M.SolverFlowMap(field, derivatives="independent", **tight),
        M.ExactFlowMap(exact),
    )
    for flow in flows:
        s, rows = torch.tensor([0.3, 0.5]), torch.tensor([0.9, 0.1, 0.6])

        def path(s: Tensor, rows: Tensor, x: Tensor, flow: M.FlowMap = flow) -> Tensor:
            return flow.along(s, rows, x)

        tangents = (torch.ones_like(s), torch.tensor([1.0, -2.0, 0.5]), torch.ones_like(x))
        got = torch.func.jvp(path, (s, rows, x), tangents)[1]
        expected = torch.stack(
            [
                C.jvp(flow, s, r, x, ds=1.0, dt=torch.full_like(s, d), dx=tangents[2])[1]
                for r, d in zip(rows, tangents[1].tolist(), strict=True)
            ]
        )
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_conditions_travel_along() -> None:
    """A pytree with integer leaves and leaves that are None, tiled and reordered with the times."""

    def moved(s: Tensor, t: Tensor, x: Tensor, condition: dict) -> Tensor:
        return x + (condition["speed"] * (t - s))[:, None] + 10 * condition["label"][:, None]

    condition = {"speed": torch.tensor([1.0, 2.0]), "label": torch.tensor([0, 1]), "no": None}
    flow, x = M.ExactFlowMap(moved), torch.zeros(2, 1)
    path = flow.along(0.0, [1.0, 2.0], x, condition)
    assert path.flatten().tolist() == [1.0, 12.0, 2.0, 14.0]
    solver = M.SolverFlowMap(lambda t, x, c: c["speed"][:, None] + 0 * x)
    path = solver.along(0.5, [2.0, 0.0, 1.0], x, condition)
    torch.testing.assert_close(path[:, 1, 0], torch.tensor([3.0, -1.0, 1.0]))


@settings(max_examples=5)
@given(s=st.floats(-2, 2), t=st.floats(-2, 2), seed=st.integers(0, 1000))
def test_a_sample_does_not_know_its_neighbours(s: float, t: float, seed: int) -> None:
    """Batches of one and reordered: the same value for each sample."""
    x, flows = torch.randn(4, 2, generator=torch.Generator().manual_seed(seed)), every_kind()
    starts, ends = torch.full((4,), s), t + torch.arange(4.0) / 10
    order = torch.tensor([2, 0, 3, 1])
    for kind in ("steps", "piecewise", "through", "autonomous", "conjugated"):
        y = flows[kind](starts, ends, x)
        moved = flows[kind](starts[order], ends[order], x[order])
        torch.testing.assert_close(moved, y[order])
        torch.testing.assert_close(flows[kind](s, ends[1].item(), x[1:2]), y[1:2])


@pytest.mark.parametrize("kind", KINDS)
def test_inference_mode_and_no_grad_give_the_same_values(kind: str) -> None:
    flow, x = every_kind()[kind], torch.ones(2, 2)
    y = flow(0.2, 0.9, x)
    for context in (torch.inference_mode(), torch.no_grad()):
        with context:
            assert torch.equal(flow(0.2, 0.9, x), y)
            assert flow.along(0.2, [0.9, 0.1], x).shape == (2, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_never_written_to(kind: str) -> None:
    flow, x = every_kind()[kind], torch.ones(2, 2)
    s, t = torch.tensor([0.2, 0.5]), torch.tensor([0.9, 0.1])
    before = [a.clone() for a in (x, s, t)]
    flow(s, t, x).add_(1.0)
    flow.along(s, torch.stack([t, s]), x).add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip((x, s, t), before, strict=True))


def test_one_graph_serves_numbers_that_change_from_call_to_call() -> None:
    """torch then makes a number symbolic, on which hardly any check of a number can be traced."""
    flow, x = M.ExactFlowMap(exact, M.TimeSet(0.0, 2.0)), torch.ones(2, 2)
    for function in (flow, lambda s, t, x: C.time_derivative(flow, s, t, x)):
        torch._dynamo.reset()
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        for t in (1.0, 0.1, 0.3):
            torch.testing.assert_close(compiled(0.1, t, x), function(0.1, t, x), rtol=1e-15, atol=0)


def test_maps_are_modules() -> None:
    network = fm.networks.MLP(dim=2, width=4, depth=1)
    learned = M.NeuralFlowMap(network)
    whole = M.Autonomous(M.Conjugated(learned, M.Affine(0.0, 2.0)), 0.5)
    assert dict(whole.named_parameters()).keys() == {
        f"flow_map.flow_map.network.{name}" for name, _ in network.named_parameters()
    }
    twin = copy.deepcopy(whole).float()
    twin.load_state_dict(whole.state_dict())
    x = torch.ones(1, 2, dtype=torch.float32)
    assert twin(0.0, 2.0, x).dtype == torch.float32
    steps = M.SolverFlowMap(Wave(), method=fm.solvers.RK4(), steps=3)
    assert "RK4(), steps=3" in repr(steps)
    assert torch.equal(pickle.loads(pickle.dumps(M.Identity()))(0.0, 1.0, x), x)


def test_a_map_of_ones_own_needs_one_method() -> None:
    class Shift(M.FlowMap):
        def _transport(self, s, t, x, condition):  # noqa: ANN001, ANN202
            return x + torch.as_tensor(t - s).to(x).reshape(-1, 1)

    flow, x = Shift(), torch.zeros(2, 1)
    assert flow(0.0, torch.tensor([1.0, 2.0]), x).flatten().tolist() == [1.0, 2.0]
    assert flow.velocity(0.5, x).flatten().tolist() == [1.0, 1.0]
    assert flow.along(0.0, [1.0, 3.0], x)[1].flatten().tolist() == [3.0, 3.0]
    whole = flow.between(0.0, 1.0).inverse("newton") @ flow.between(0.0, 1.0)
    torch.testing.assert_close(whole(x), x)
    assert flow.evaluations(0.0, 1.0) == 1
    with pytest.raises(TypeError):
        M.FlowMap()  # pyright: ignore[reportAbstractUsage]
