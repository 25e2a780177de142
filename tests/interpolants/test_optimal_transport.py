"""Minibatch optimal transport: against brute force, sorting and closed forms."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

import flowmaps as fm
from flowmaps.interpolants import Coupling, Independent, OptimalTransport, Sinkhorn

seeds = st.integers(0, 10**6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sets(seed: int, n: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    x0 = torch.randn(n, dim, generator=generator)
    return x0, 3.0 + 2 * torch.rand(n, dim, generator=generator)


def cost(x0: Tensor, x1: Tensor) -> float:
    return (x0 - x1).square().sum().item()


@given(seeds, st.integers(1, 6), st.integers(1, 3))
def test_no_permutation_costs_less(seed: int, n: int, dim: int) -> None:
    x0, x1 = sets(seed, n, dim)
    partners = OptimalTransport().assign(x0, x1)
    assert sorted(partners.tolist()) == list(range(n))
    least = min(cost(x0[list(order)], x1) for order in itertools.permutations(range(n)))
    assert cost(x0[partners], x1) == pytest.approx(least, rel=1e-12)


@given(seeds, st.integers(1, 40))
def test_in_one_dimension_it_sorts(seed: int, n: int) -> None:
    x0, x1 = sets(seed, n, 1)
    met = x0[OptimalTransport().assign(x0, x1)]
    assert torch.equal(met[x1.argsort(0)[:, 0]], x0.sort(0).values)


@given(seeds)
def test_far_from_the_origin_the_assignment_is_the_same(seed: int) -> None:
    x0, x1 = sets(seed, 12, 2)
    assign = OptimalTransport().assign
    assert torch.equal(assign(x0, x1), assign(x0 + 2.0**20, x1 - 2.0**20))


@pytest.mark.parametrize("base", ["noise", "set"])
def test_draws_are_the_independent_ones_in_another_order(base: str) -> None:
    x1 = torch.rand(70, 2, 3)
    x0 = None if base == "noise" else torch.randn(50, 2, 3)
    rows = torch.randint(70, (40,), generator=seeded(1))
    free = Independent().draw(x0, x1, rows, seeded(3))
    drawn = OptimalTransport().draw(x0, x1, rows, seeded(3))
    assert torch.equal(drawn.flatten(1).sum(1).sort().values, free.flatten(1).sum(1).sort().values)
    assert cost(drawn, x1[rows]) < cost(free, x1[rows])
    one = OptimalTransport().draw(x0, x1.float(), rows[:0], seeded(3)) if base == "noise" else drawn
    assert one.shape[1:] == (2, 3)


@pytest.mark.parametrize("coupling", [OptimalTransport(), Sinkhorn(0.5)])
def test_laws_of_each_side_and_conditions_stay(coupling: Coupling) -> None:
    x1 = torch.randn(500, 1) ** 3
    pairs = fm.objectives.Pairs(None, x1, condition=torch.arange(500), coupling=coupling)
    plain = fm.objectives.Pairs(None, x1, condition=torch.arange(500))
    firsts, generator = [], seeded(5)
    for _ in range(150):  # one row of a batch: those of one batch depend on each other
        x0, data, label = pairs.sample(16, generator)
        assert torch.equal(data, x1[label])
        firsts.append(x0[0, 0].item())
    assert torch.equal(pairs.sample(16, seeded(2))[1], plain.sample(16, seeded(2))[1])
    assert stats.kstest(firsts, "norm").pvalue > 1e-3


@given(seeds, st.integers(1, 8), st.integers(1, 8))
def test_the_entropic_plan_has_its_marginals_and_form(seed: int, n0: int, n1: int) -> None:
    x0, x1 = sets(seed, n0, 2)[0], sets(seed, n1, 2)[1]
    plan = Sinkhorn(2.0, iterations=500).plan(x0, x1)
    assert_close(plan.sum(1), torch.full((n1,), 1 / n1))
    assert_close(plan.sum(0), torch.full((n0,), 1 / n0), rtol=1e-6, atol=0)
    # of the form a_i exp(-cost / regularization) b_j: what is left is of rank one
    left = plan.log() + (x1[:, None] - x0).square().sum(2) / 2.0
    left = left - left[:1] - left[:, :1] + left[:1, :1]
    assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-10)


def test_the_plan_of_two_points_is_known() -> None:
    """Points 0, 1 and 0, 1: the diagonal is 1 / (2 (1 + exp(-1 / regularization)))."""
    x = torch.tensor([[0.0], [1.0]])
    for regularization in (0.3, 1.0, 4.0):
        same = 0.5 / (1 + torch.tensor(-1 / regularization).exp())
        plan = Sinkhorn(regularization).plan(x, x)
        assert_close(plan, torch.stack([same, 0.5 - same, 0.5 - same, same]).reshape(2, 2))


@given(seeds, st.integers(2, 6))
def test_between_assignment_and_independence(seed: int, n: int) -> None:
    x0, x1 = sets(seed, n, 2)
    exact = torch.zeros(n, n)
    exact[torch.arange(n), OptimalTransport().assign(x0, x1)] = 1 / n
    square = (x1[:, None] - x0).square().sum(2)
    plans = [Sinkhorn(eps, iterations=600).plan(x0, x1) for eps in (0.1, 1.0, 1e6)]
    costs = [(plan * square).sum().item() for plan in plans]
    least = (exact * square).sum().item()
    slack = 0.01 * least  # marginals of few iterations at a small regularization
    assert least - slack <= costs[0] <= costs[1] + slack <= costs[2] + 2 * slack
    assert costs[0] <= least + 0.1 * math.log(n) + slack
    assert_close(plans[2], torch.full((n, n), 1 / n**2), rtol=1e-4, atol=0)


def test_partners_are_drawn_by_the_plan() -> None:
    """Frequencies of sampled partners are the rows of the plan, by chi-square."""
    x1, law = torch.tensor([[0.0], [1.0], [3.0]]), Sinkhorn(2.0, 15)
    rows, counts = torch.arange(3), torch.zeros(3, 3)
    expected, base = torch.zeros(3, 3), torch.tensor([[0.0], [1.0], [2.0]])
    for seed in range(600):
        met = law.draw(base, x1, rows, seeded(seed))[:, 0].long()
        free = Independent().draw(base, x1, rows, seeded(seed))
        plan = 3 * law.plan(free, x1)
        counts[rows, met] += 1
        for row in range(3):
            expected[row].index_add_(0, free[:, 0].long(), plan[row])
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert stats.chi2.sf(statistic, 6) > 1e-4


@given(seeds)
def test_draws_depend_on_the_generator_alone(seed: int) -> None:
    x0, x1 = sets(seed, 9, 2)
    for coupling in (OptimalTransport(), Sinkhorn(0.5, 20)):
        torch.manual_seed(seed)
        first = coupling.draw(x0, x1, torch.arange(9), seeded(seed))
        torch.manual_seed(seed + 1)
        assert torch.equal(first, coupling.draw(x0, x1, torch.arange(9), seeded(seed)))


ANY: Any = "small"
X = torch.zeros(3, 2)
BAD: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "other event": (lambda: OptimalTransport().check(X[:, :1], X), ValueError, "agree in shape"),
    "other dtype": (
        lambda: Sinkhorn(1.0).check(X.double(), X.float()),
        ValueError,
        "agree in shape",
    ),
    "sizes": (lambda: OptimalTransport().assign(X[:2], X), ValueError, "as many base as data"),
    "infinite": (lambda: OptimalTransport().assign(X, X / 0), ValueError, "x1 holds values"),
    "events": (lambda: Sinkhorn(1.0).plan(X[:, :1], X), ValueError, "agree in shape"),
    "regularization": (lambda: Sinkhorn(0.0), ValueError, "regularization must be a positive"),
    "a word": (lambda: Sinkhorn(ANY), TypeError, "regularization must be a positive"),
    "iterations": (lambda: Sinkhorn(1.0, 0), ValueError, "iterations must be a whole"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
