"""Numbers, times, states and matrices are what they promise, and shrink to zeros and ones."""

import hypothesis
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.testing import strategies

ENDS = st.tuples(st.integers(-40, 40), st.integers(1, 40)).map(lambda a: (a[0] / 8, sum(a) / 8))
DIRECTIONS = st.sampled_from(["both", "forward", "backward"])
QUICK = settings(deadline=None, database=None, max_examples=100)


def find(strategy, condition=lambda value: True):
    return hypothesis.find(strategy, condition, settings=QUICK)


@given(st.data(), ENDS)
def test_numbers_lie_in_their_range_and_are_not_tiny(data, ends):
    a = data.draw(strategies.numbers(*ends))
    assert ends[0] <= a <= ends[1]
    assert a == 0 or abs(a) >= 1e-9 * max(map(abs, ends))


@pytest.mark.parametrize("n", [1, 2, 3])
@given(st.data(), ENDS, DIRECTIONS, st.floats(0, 1), st.sampled_from([None, 1, 3]))
def test_times_keep_their_interval_gap_and_order(n, data, ends, directions, part, batch):
    low, high = ends
    gap = part * (high - low) / 2
    if n == 1:
        times = (data.draw(strategies.times(low, high, batch)),)
    else:
        draw = strategies.spans if n == 2 else strategies.triples
        times = data.draw(draw(low, high, gap, directions, batch))
    assert len(times) == n
    assert all(isinstance(a, float if batch is None else Tensor) for a in times)
    rows = torch.stack([torch.as_tensor(a, dtype=torch.float64).reshape(-1) for a in times])
    assert rows.shape == (n, batch or 1)
    assert bool(((rows >= low) & (rows <= high)).all())
    if n > 1:
        apart = (rows[:, None] - rows).abs()[~torch.eye(n, dtype=torch.bool)]
        assert bool((apart >= gap * (1 - 1e-12)).all())
        assert directions != "forward" or bool((rows.diff(dim=0) >= 0).all())
        assert directions != "backward" or bool((rows.diff(dim=0) <= 0).all())


def test_all_orders_of_times_are_drawn():
    found = set()
    triples = strategies.triples(0.0, 1.0, gap=0.1)

    @settings(max_examples=300)
    @given(triples)
    def collect(times):
        found.add(tuple(sorted(range(3), key=lambda k: times[k])))

    collect()
    assert len(found) == 6


DOMAINS = [
    fm.domains.Box([-1.0, 2.0], [0.5, 3.0]),
    fm.domains.Ball([0.5, -1.0], 0.7),
    fm.domains.Points(torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
    fm.domains.SubLevel(lambda x: x.square().sum(1), 1.0, fm.domains.Box([-1.0, -1.0], [1.0, 1.0])),
]


class Upper(fm.domains.Domain):
    def _draw(self, n, generator):
        return torch.rand(n, 2, generator=generator, dtype=torch.float64)

    def _contains(self, x):
        return (x >= 0).all(1)

    def __repr__(self):
        return "Upper"


@pytest.mark.parametrize("domain", [*DOMAINS, Upper(2)], ids=lambda one: type(one).__name__)
@given(st.data(), st.sampled_from([torch.float32, torch.float64]))
def test_states_lie_in_their_domain(domain, data, dtype):
    x = data.draw(strategies.states(domain, batch=(2, 3), event=(1, 2), dtype=dtype))
    assert x.dtype == dtype and x.shape in ((2, 1, 2), (3, 1, 2))
    assert bool(domain.contains(x.reshape(-1, 2)).all())


@given(st.data())
def test_states_from_data_are_its_rows(data):
    given_rows = torch.arange(12.0).reshape(3, 2, 2)
    x = data.draw(strategies.states(given_rows, batch=5))
    assert x.shape == (5, 2, 2)
    assert all(any(torch.equal(row, one) for one in given_rows) for row in x)


@given(st.data(), st.booleans())
def test_tangents_have_their_shape_and_size(data, nonzero):
    v = data.draw(strategies.tangents((2, 3, 1), bound=0.5, nonzero=nonzero))
    assert v.shape == (2, 3, 1) and v.abs().max() <= 0.5
    assert not nonzero or bool((v.flatten(1) != 0).any(1).all())


KINDS = ("general", "symmetric", "positive definite", "skew", "stable", "Hamiltonian")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 4])
@settings(max_examples=15)
@given(st.data(), st.sampled_from([0.5, 1.0, 3.0]))
def test_matrices_are_of_their_kind_and_bounded(kind, dim, data, bound):
    a = data.draw(strategies.matrices(dim, kind, bound))
    assert a.shape == (dim, dim) and a.dtype == torch.float64
    assert torch.linalg.matrix_norm(a, ord=2) <= bound * (1 + 1e-9)
    if kind in ("symmetric", "positive definite"):
        assert torch.equal(a, a.T)
    if kind == "positive definite":
        assert torch.linalg.eigvalsh(a).min() > 0
    if kind == "skew":
        assert torch.equal(a, -a.T)
    if kind == "stable":
        assert torch.linalg.eigvals(a).real.max() < 0
    if kind == "Hamiltonian":
        one, zero = torch.eye(dim // 2), torch.zeros(dim // 2, dim // 2)
        twist = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
        assert torch.equal(twist @ a, (twist @ a).T)


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_shrink_to_zeros_and_ones(kind):
    a = find(strategies.matrices(2, kind), lambda a: bool((a.abs() > 0.1).any()))
    assert set(a.flatten().tolist()) <= {-1.0, 0.0, 1.0}


def test_stable_matrices_may_amplify_at_first():
    def grows(a: Tensor) -> bool:
        return bool(torch.linalg.eigvalsh((a + a.T) / 2).max() > 0)

    assert grows(find(strategies.matrices(2, "stable"), grows))


LINEAR = strategies.linear_flows()


@pytest.mark.parametrize(
    "act, error, message",
    [
        (lambda: strategies.numbers("a", 1.0), TypeError, "must be numbers"),
        (lambda: strategies.numbers(2.0, 1.0), ValueError, "lower <= upper"),
        (lambda: strategies.times(1.0, 1.0), ValueError, "lower < upper"),
        (lambda: strategies.times(batch=0), ValueError, "batch"),
        (lambda: strategies.spans(gap=None), TypeError, "must be numbers"),
        (lambda: strategies.spans(gap=2.0), ValueError, "gap must be"),
        (lambda: strategies.triples(gap=0.6), ValueError, "2 of them fit"),
        (lambda: strategies.triples(directions="up"), ValueError, "directions must be"),
        (lambda: strategies.states([0.0]), TypeError, "domain must be"),
        (lambda: strategies.states(DOMAINS[0], event=(3,)), ValueError, "2 coordinates"),
        (lambda: strategies.states(DOMAINS[0], batch=(3, 2)), ValueError, "least <= most"),
        (lambda: strategies.states(torch.ones(3)), ValueError, r"\(m, \*event\)"),
        (lambda: strategies.tangents(()), ValueError, "shape must be"),
        (lambda: strategies.tangents((1,), bound=0.0), ValueError, "positive"),
        (lambda: strategies.matrices(3, "Hamiltonian"), ValueError, "even dim"),
        (lambda: strategies.matrices(2, "normal"), ValueError, "kind must be one of"),
        (lambda: strategies.networks(weights="ones"), ValueError, "weights must be"),
        (lambda: strategies.networks(width=99, weights="numbers"), ValueError, "one by one"),
        (lambda: strategies.perceptron([1.0, 2.0]), ValueError, "weights, got 2"),
        (lambda: strategies.Coupling("a"), TypeError, "must be a number"),
        (lambda: strategies.states(torch.zeros(0, 2)), ValueError, r"\(m, \*event\)"),
        (lambda: strategies.states(DOMAINS[0], dtype="float32"), TypeError, "dtype must be"),
        (lambda: strategies.tangents(3), TypeError, "shape must be"),
        (lambda: strategies.cases(3), TypeError, "flows must be a strategy"),
        (lambda: strategies.cases(LINEAR, gap=-1.0), ValueError, "gap must be"),
        (lambda: strategies.cases(LINEAR, directions="up"), ValueError, "directions must be"),
        (lambda: strategies.cases(LINEAR, dtype=3), TypeError, "dtype must be"),
        (lambda: strategies.conjugated_flows(3), TypeError, "inner must be a strategy"),
        (lambda: strategies.linear_flows(times=3), TypeError, "times must be a pair"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_draw(refused, act, error, message):
    refused(act, error, message)
