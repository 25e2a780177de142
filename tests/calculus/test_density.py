"""The field of a state and its log-determinant: traces, estimates, and what is refused."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.calculus import log_det, probes, with_divergence

jvp: Any = torch.func.jvp  # whose result has a type of two kinds
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def linear(matrix: Tensor):
    return lambda t, x: x @ matrix.T


@given(st.integers(1, 4), st.integers(0, 1000), st.floats(-1.0, 1.0))
def test_a_linear_field_has_its_trace_times_the_time(n, seed, span) -> None:
    g = torch.Generator().manual_seed(seed)
    matrix, x = torch.randn(n, n, generator=g), torch.randn(3, n, generator=g)
    start = x, torch.zeros(3)
    y, change = fm.solvers.solve(with_divergence(linear(matrix)), 0.0, span, start, **TIGHT).x
    assert torch.allclose(change, (matrix.trace() * span).expand(3), atol=1e-10)
    # matrix_exp of one matrix is less exact than of two
    truth = x @ torch.linalg.matrix_exp(span * torch.stack([matrix, matrix]))[0].T
    assert torch.allclose(y, truth, rtol=1e-6, atol=1e-6)


def swirl(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    return torch.sin(condition * x) * x.flip(1) + t[:, None] * torch.cos(x)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_values_and_traces_of_a_field(chunk_size) -> None:
    t, x, condition = torch.rand(5), torch.randn(5, 3), torch.rand(5, 1)
    jacobian = fm.calculus.field_jacobian(swirl, t, x, condition)
    exact = with_divergence(swirl, chunk_size=chunk_size)
    value, trace = exact(t, (x, torch.zeros(5)), condition)
    assert torch.equal(value, swirl(t, x, condition))
    assert torch.allclose(trace, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    drawn = torch.randn(5, 4, 3)
    estimate = with_divergence(swirl, "hutchinson", chunk_size)
    value, trace = estimate(t, (x, torch.zeros(5)), (condition, drawn))
    assert torch.equal(value, swirl(t, x, condition))
    assert torch.allclose(trace, torch.einsum("bpi,bij,bpj->b", drawn, jacobian, drawn) / 4)


def test_states_of_every_shape() -> None:
    for event in ((), (2, 3), (0,)):
        for batch in (0, 2):
            start = torch.rand(batch, *event), torch.zeros(batch)
            field = with_divergence(lambda t, x: -x)
            _, change = fm.solvers.solve(field, 0.0, 1.0, start).x
            assert torch.allclose(change, torch.full((batch,), -1.0 * math.prod(event)), atol=1e-6)


@pytest.mark.parametrize("law", ["rademacher", "normal"])
def test_the_estimate_is_unbiased(law) -> None:
    """The mean of 20,000 log-determinants lies within four standard errors of the exact one."""
    matrix, count = torch.tensor([[0.3, 1.0, -0.4], [0.2, -0.6, 0.7], [0.0, -0.5, 0.1]]), 20_000
    x = torch.ones(1, 3).expand(count, 3)
    drawn = probes(x, law=law, generator=torch.Generator().manual_seed(3))
    field = with_divergence(linear(matrix), "hutchinson")
    start = x, torch.zeros(count)
    _, change = fm.solvers.solve(field, 0.0, 1.0, start, (None, drawn), rtol=1e-4).x
    both = (matrix + matrix.T) / 2
    noise = both if law == "normal" else both - torch.diag(both.diagonal())
    deviation = math.sqrt(2 * noise.square().sum().item())
    assert change.std().item() == pytest.approx(deviation, rel=0.05)
    assert abs(change.mean().item() - matrix.trace().item()) < 4 * deviation / math.sqrt(count)


def test_every_sample_keeps_its_probes_when_others_leave_the_batch() -> None:
    """Samples that have finished leave a batch of more than 64; the answers stay the same."""
    x, condition = torch.randn(100, 3), torch.rand(100, 1)
    t = torch.linspace(0.01, 3.0, 100)
    drawn = probes(x, 2, generator=torch.Generator().manual_seed(0))
    field = with_divergence(swirl, "hutchinson")

    def run(rows: slice) -> Tensor:
        start, pair = (x[rows], torch.zeros(len(x[rows]))), (condition[rows], drawn[rows])
        return fm.solvers.solve(field, 0.0, t[rows], start, pair, **TIGHT).x[1]

    whole = run(slice(None))
    for i in (0, 41, 99):
        assert torch.allclose(run(slice(i, i + 1)), whole[i : i + 1], rtol=1e-8, atol=1e-9)


def test_probes_are_drawn_sample_by_sample() -> None:
    x = torch.zeros(6, 2, 2)
    draw = lambda x: probes(x, 3, generator=torch.Generator().manual_seed(5))  # noqa: E731
    assert draw(x).shape == (6, 3, 2, 2)
    assert torch.equal(draw(x), draw(x))
    assert torch.equal(draw(x)[:4], draw(x[:4]))
    assert set(draw(x).unique().tolist()) == {-1.0, 1.0}


def test_derivatives_pass_through() -> None:
    matrix, x = torch.randn(2, 2), torch.randn(4, 2)

    def run(matrix: Tensor) -> Tensor:
        field = with_divergence(lambda t, x: torch.tanh(x @ matrix.T))
        y, change = fm.solvers.solve(field, 0.0, 1.0, (x, torch.zeros(4)), **TIGHT).x
        return (y.sum(1) + change).sum()

    direction, h = torch.randn(2, 2), 1e-4
    truth = (run(matrix + h * direction) - run(matrix - h * direction)) / (2 * h)
    assert (jvp(run, (matrix,), (direction,))[1] - truth).abs() < 1e-6
    assert ((torch.func.grad(run)(matrix) * direction).sum() - truth).abs() < 1e-6


def test_parameters_are_found() -> None:
    network = nn.Linear(2, 2)

    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def field(self, t: Tensor, x: Tensor) -> Tensor:
            return self.network(x)

    for field in (lambda t, x: network(x), Owner().field):
        module = with_divergence(field)
        start = torch.randn(3, 2), torch.zeros(3)
        how: dict[str, Any] = {"gradient": fm.solvers.ContinuousAdjoint()}
        change = fm.solvers.solve(module, 0.0, 1.0, start, **how).x[1]
        (found,) = torch.autograd.grad(change.sum(), network.weight)
        assert torch.allclose(found, 3 * torch.eye(2), atol=1e-5)
    assert list(with_divergence(Owner().field).parameters()) == list(network.parameters())


def test_bad_input(refused) -> None:
    x, field = torch.ones(2, 3), lambda t, x: -x
    refused(lambda: with_divergence("field"), TypeError, "field must be a callable")  # type: ignore
    refused(lambda: with_divergence(field, "trace"), ValueError, '"exact" or "hutchinson"')
    refused(lambda: probes(x, 0), ValueError, "count must be a whole number")
    refused(lambda: probes(x, law="uniform"), ValueError, '"rademacher" or "normal"')
    estimate = with_divergence(field, "hutchinson")
    start = x, torch.zeros(2)
    for pair, error, message in (
        (None, TypeError, r"takes the pair \(condition, probes\)"),
        (torch.ones(2, 1), TypeError, r"takes the pair \(condition, probes\)"),
        ((None, torch.ones(2, 3)), ValueError, "probes must have shape"),
        ((None, torch.ones(2, 0, 3)), ValueError, "probes must have shape"),
    ):
        solve = lambda pair=pair: fm.solvers.solve(estimate, 0.0, 1.0, start, pair)  # noqa: E731
        refused(solve, error, message)


def test_log_det_of_a_solver_map_is_the_determinant_of_its_jacobian() -> None:
    flow_map = fm.maps.SolverFlowMap(swirl, **TIGHT)
    t, x = torch.tensor([0.7, -0.5, 0.0]), torch.randn(3, 2)
    condition = torch.rand(3, 1)
    y, change = flow_map.with_log_det(0.0, t, x, condition)
    assert torch.allclose(y, flow_map(0.0, t, x, condition), atol=1e-7)
    assert torch.allclose(change, log_det(flow_map, 0.0, t, x, condition), atol=1e-7)
