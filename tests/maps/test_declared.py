"""What maps declare holds: times of a solve, spans of pieces, time-free fields, parameters."""

import copy

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import UntrainedTimes

M = fm.maps


def shift(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x + (t - s)[:, None]


def test_a_solution_is_asked_for_trained_times_only() -> None:
    flow = M.SolverFlowMap(lambda t, x: -x, times=M.TimeSet(0.0, 1.0, backward=False))
    x = torch.ones(2, 1)
    assert flow.solve(0.0, 1.0, x).success.all()
    for s, t in ((3.0, 2.0), (0.0, torch.tensor([0.5, 1.5])), (torch.tensor([0.0, 0.5]), 0.25)):
        with pytest.raises(UntrainedTimes):
            flow.solve(s, t, x)
    free = M.SolverFlowMap(lambda t, x: -x)
    assert not free.solve(0.0, torch.tensor([0.5, torch.nan]), x).success.all()


def test_pieces_declare_the_spans_that_their_maps_allow() -> None:
    """No call inside the declared set is NaN or refused."""
    short = M.ExactFlowMap(shift, M.TimeSet(0.0, 2.0, max_span=0.25))
    whole = M.Piecewise([short, M.ExactFlowMap(shift)], [1.0])
    assert whole.times.max_span == 0.25
    assert M.Piecewise([short.through([0.25, 0.5, 0.75]), short], [1.75]).times.max_span > 1e300
    x = torch.zeros(3, 1)
    s = torch.tensor([0.0, 0.9, 3.0])
    assert torch.isfinite(whole(s, s + 0.25, x)).all()
    for s, t in ((0.0, 2.0), (torch.zeros(3), torch.full((3,), 2.0))):
        with fm.checking("full"), pytest.raises(UntrainedTimes, match=r"spans up to 0\.25"):
            whole(s, t, x)
    with pytest.raises(UntrainedTimes):
        whole.along(0.0, [0.25, 2.0], x)


KNOWN = {
    "solver": lambda f: M.SolverFlowMap(f),
    "one direction": lambda f: M.SolverFlowMap(f, times=M.TimeSet(0.0, 1.0, backward=False)),
    "through": lambda f: M.SolverFlowMap(f).through([0.5]),
    "conjugated": lambda f: M.Conjugated(M.SolverFlowMap(f), M.Affine(1.0, 2.0)),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_field_of_time_makes_no_long_map(kind: str) -> None:
    x = torch.rand(3, 2) + 1.5
    for field in (
        lambda t, x: -t[:, None] * x,
        lambda t, x: torch.cos(6.283185307179586 * t)[:, None] * x,
        lambda t, x: x + 0.01 * t[:, None],
    ):
        long = M.Autonomous(KNOWN[kind](field), 1.0)
        with pytest.raises(ValueError, match=r"depends on them.*through\(grid\)"):
            long(1.0, 2.0, x)
    steady = M.Autonomous(KNOWN[kind](lambda t, x: torch.sin(x)), 1.0)
    torch.testing.assert_close(steady(1.0, 2.5, x), steady(0.0, 1.5, x))


def test_a_formula_of_time_makes_no_long_map_and_a_learned_one_may() -> None:
    """Of a network, which need be trained from time 0 alone, nothing is asked."""
    formula = M.ExactFlowMap(lambda s, t, x: x * torch.exp((t**2 - s**2)[:, None]))
    with pytest.raises(ValueError, match="depends on them"):
        M.Autonomous(formula, 1.0)(0.0, 1.0, torch.ones(1, 1))

    class Untrained(nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
            return x * torch.exp(s)[:, None]

    M.Autonomous(M.NeuralFlowMap(Untrained()), 1.0)(0.0, 2.0, torch.ones(1, 1))


def test_the_question_leaves_transformations_alone_and_is_asked_once() -> None:
    calls = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        calls.append(len(x))
        return -x

    long = M.Autonomous(M.SolverFlowMap(field, method=fm.solvers.Euler(), steps=1), 1.0)
    x = torch.ones(5, 1)
    torch.func.vmap(lambda x: long(0.0, 1.0, x[None])[0])(x)
    assert not long._asked
    long(0.0, 1.0, x)
    calls.clear()
    long(0.0, 1.0, x)
    assert calls == [5]


def test_the_times_of_a_leg_go_where_the_states_are() -> None:
    times = torch.zeros(2), torch.full((2,), 0.1)
    leg = M.ExactFlowMap(shift).between(*times)
    x = torch.zeros(2, 1, device="meta")
    assert leg(x).device == x.device
    assert (leg @ leg.inverse())(x).device == x.device
    leg.to(torch.float32)
    assert leg.t.dtype == torch.float64 and "t" not in leg.state_dict()
    assert copy.deepcopy(leg)(torch.zeros(2, 1, dtype=torch.float64)).tolist() == [[0.1], [0.1]]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.layer(x)

    def slope(self, t: Tensor, x: Tensor) -> Tensor:
        return -self.layer(x)


FIELDS = {
    "module": lambda net: net,
    "method": lambda net: net.slope,
    "per sample": lambda net: fm.fields.per_sample(net),
    "scalar time": lambda net: fm.fields.scalar_time(net.slope),
    "reversed": lambda net: fm.fields.reversed_time(net),
    "scaled": lambda net: fm.fields.scaled(net, [1.0, 2.0], 3.0),
    "scaled method": lambda net: fm.fields.scaled(net.slope),
    "nested": lambda net: fm.fields.reversed_time(fm.fields.scaled(net)),
}


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("make", [M.SolverFlowMap, M.SecondOrder], ids=["solver", "second order"])
def test_the_parameters_of_a_field_are_the_maps(make: type, kind: str) -> None:
    net = Net()
    flow = make(FIELDS[kind](net))
    assert {id(p) for p in flow.parameters()} == {id(p) for p in net.parameters()}
    assert len(flow.state_dict()) >= 2
    flow.to(torch.float32).to(torch.float64).eval()
    assert not net.training and flow.state_dict()
    twin = copy.deepcopy(flow)
    copied = {id(p) for p in twin.parameters()}
    assert len(copied) == 2 and not copied & {id(p) for p in net.parameters()}
    if make is M.SolverFlowMap:
        x = torch.ones(3, 2)
        before = flow(0.0, 0.1, x)
        with torch.no_grad():
            net.layer.weight.zero_()
        assert not torch.equal(flow(0.0, 0.1, x), before)
        torch.testing.assert_close(twin(0.0, 0.1, x), before)
