"""Couplings: who meets whom, how often, and by which random numbers."""

import math
from collections.abc import Callable
from typing import Any, final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import flowmaps as fm
from flowmaps.interpolants import Coupling, Given, Independent


@final
class Sorted(Coupling):
    """The optimal transport of a batch in one dimension: a coupling that permutes draws."""

    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        Independent().check(x0, x1)

    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        drawn = Independent().draw(x0, x1, rows, generator)
        return drawn.sort(0).values[x1[rows].argsort(0).argsort(0)[:, 0]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def likely(counts: Tensor, expected: Tensor | float) -> bool:
    """Whether counts of independent draws are compatible with what is expected, by chi-square."""
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return stats.chi2.sf(statistic, counts.numel() - 1) > 1e-4


@given(st.lists(st.integers(0, 9), min_size=0, max_size=30), st.integers(0, 10**6))
def test_given_rows_meet_whatever_the_random_numbers(rows: list[int], seed: int) -> None:
    x1 = torch.arange(10.0)[:, None]
    x0 = 100 + x1
    drawn = Given().draw(x0, x1, torch.tensor(rows, dtype=torch.long), seeded(seed))
    assert drawn.flatten().tolist() == [100.0 + row for row in rows]


def test_independent_rows_meet_equally_often_and_independently() -> None:
    """Counts of the pairs (i, j) are those of independent uniform draws."""
    x0, x1 = torch.arange(5.0)[:, None], torch.arange(3.0)[:, None]
    rows = torch.randint(3, (60_000,), generator=seeded(1))
    drawn = Independent().draw(x0, x1, rows, seeded(2)).flatten().long()
    table = torch.bincount(5 * rows + drawn, minlength=15).reshape(3, 5).double()
    assert likely(table.sum(0), 12_000)
    assert likely(table, table.sum(1, keepdim=True) / 5)


def test_independent_noise_is_standard_normal_of_the_data_s_kind() -> None:
    for dtype in (torch.float32, torch.float64):
        noise = Independent().draw(None, torch.ones(4, 3, dtype=dtype), torch.zeros(20_000).long())
        assert noise.shape == (20_000, 3) and noise.dtype == dtype
        assert (noise.mean(0).abs() < 4 / math.sqrt(20_000)).all()
        assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-4


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7), st.integers(0, 12))
def test_draws_depend_on_the_generator_alone(seed: int, n0: int, n1: int, batch: int) -> None:
    """Not on torch's own random numbers, nor on which rows of x1 are to be met."""
    x0, x1 = torch.randn(n0, 2), torch.randn(n1, 2)
    rows = torch.randint(n1, (batch,))
    for base in (x0, None):
        torch.manual_seed(seed)
        first = Independent().draw(base, x1, rows, seeded(seed))
        torch.manual_seed(seed + 1)
        again = Independent().draw(base, 3 * x1, n1 - 1 - rows, seeded(seed))
        assert torch.equal(first, again)


def test_the_interface_serves_couplings_that_permute_a_batch() -> None:
    """Marginals stay as drawn; in one dimension sorting is the optimal transport."""
    x0, x1 = torch.randn(50, 1), torch.rand(70, 1)
    for base in (x0, None):
        drawn, data, _ = fm.objectives.Pairs(base, x1, coupling=Sorted()).sample(40, seeded(3))
        free, same, _ = fm.objectives.Pairs(base, x1, coupling=Independent()).sample(40, seeded(3))
        assert torch.equal(data, same)
        assert torch.equal(drawn.sort(0).values, free.sort(0).values)
        order = data.flatten().argsort()
        assert (drawn[order].diff(dim=0) >= 0).all()
        assert (drawn - data).square().sum() < (free - data).square().sum()


ANY: Any = "rows"
X = torch.zeros(3, 2)
CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "row by row, other length": (
        lambda: Given().check(X[:2], X),
        ValueError,
        "row by row.*Independent",
    ),
    "row by row, other dtype": (lambda: Given().check(X.double(), X), ValueError, "row by row"),
    "row by row, noise": (lambda: Given().check(None, X), ValueError, "no rows to couple; give x0"),
    "independent, other event": (
        lambda: Independent().check(X[:, :1], X),
        ValueError,
        "must agree in shape",
    ),
    "independent, other dtype": (
        lambda: Independent().check(X.double(), X),
        ValueError,
        "must agree in shape",
    ),
    "independent, nothing": (
        lambda: Independent().check(X[:0], X),
        ValueError,
        "x0 holds no samples",
    ),
    "a name for a coupling": (
        lambda: fm.objectives.Pairs(X, X, coupling=ANY),
        TypeError,
        "such as Independent",
    ),
    "a class for a coupling": (
        lambda: fm.objectives.Pairs(X, X, coupling=Given),
        TypeError,
        "such as Independent",
    ),
    "noise row by row": (
        lambda: fm.objectives.Pairs(None, X, coupling=Given()),
        ValueError,
        "no rows to couple",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])
